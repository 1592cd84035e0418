"""`prove` and `run` of the chat workload: hands each to the engine that the settings name."""

from collections.abc import Mapping
from typing import Any

from onecard.core.errors import BadSetting
from onecard.core.model import Model
from onecard.core.session import Session

RUNS = ("llama.cpp", "transformers")


def model_of(settings: Any) -> Model:
    """The Model that the settings name. Raises UnknownName or BadFile."""
    from onecard.catalog import model

    return model(settings.model)


def prove(settings: Any, session: Session) -> None:
    """A few tokens with synthetic weights of exactly the right shapes and formats."""
    if settings.engine == "llama.cpp":
        from onecard.engines.chat_llama import prove as prove_llama

        prove_llama(model_of(settings), settings, session)
    elif settings.engine == "transformers":
        from onecard.engines.chat_transformers import prove as prove_transformers

        prove_transformers(model_of(settings), settings, session)
    else:
        raise _foreign(settings.engine)


def run(settings: Any, session: Session) -> dict[str, Any]:
    """A real conversation with real weights."""
    if settings.engine == "llama.cpp":
        from onecard.engines.chat_llama import run as run_llama

        return run_llama(settings, session)
    if settings.engine == "transformers":
        from onecard.engines.talk_transformers import run as run_transformers

        return run_transformers(settings, session)
    raise _foreign(settings.engine)


def ready(settings: Any, how: str, options: Mapping[str, Any]) -> None:
    """What can be known without a process: whether the engine is run here, and whether there are weights to run.

    Raises BadSetting or BadFile.
    """
    if settings.engine not in RUNS:
        raise _foreign(settings.engine)
    needed = settings.prompt_tokens + settings.output_tokens
    if how == "prove" and settings.context is not None and needed > settings.context:
        raise BadSetting(
            f"{settings.prompt_tokens} prompt and {settings.output_tokens} output tokens need a context of {needed}",
            why=f"the plan has {settings.context}",
            next=f"give --context {needed}, or fewer --prompt-tokens",
        )
    if how == "run" and settings.engine == "llama.cpp":
        from onecard.engines.chat_llama import gguf_path
        from onecard.engines.hub_gguf import is_hub_id

        source = str(options.get("weights") or settings.model)
        if not is_hub_id(source):
            gguf_path(source)


def _foreign(engine: str) -> BadSetting:
    return BadSetting(
        f"{engine} is planned, not run",
        why="it needs an environment of its own",
        next=f"run it yourself with the planned settings, or give --engine {RUNS[0]}",
    )
