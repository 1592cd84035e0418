"""Chat on llama.cpp: prove it with synthetic weights of the planned shapes, or run it with real ones.

Settings are the chat workload's; `session` is the run's. Nothing here knows an Estimate: it only measures.
"""

import random
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from onecard.core.errors import BadFile, BadSetting
from onecard.core.model import Model
from onecard.core.session import Session
from onecard.core.units import show_size
from onecard.engines.hub_gguf import gguf_from_hub, is_hub_id
from onecard.engines.llama_cpp import Llama, Options, Timing, llama_library, load
from onecard.engines.llama_log import by_part
from onecard.engines.repeats import repeated, spread
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.parts.mixes import gguf_types

PORT = 8137
"""of the server where none is given: away from 8080 (llama-server), 11434 (Ollama), 1234 (LM Studio) and 7860 (Gradio)"""


def free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else 0: the system picks one."""
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def options_of(settings: Any, session: Session) -> Options:
    """The planned settings as llama.cpp's. Raises BadSetting."""
    context = settings.context
    if context is None or context < 1:
        raise BadSetting(f"context = {context} will not do", next="give a number of tokens, at least 1")
    return Options(
        context=context,
        sequences=settings.batch,
        gpu_layers=settings.n_gpu_layers if session.device != "cpu" else 0,
        kv_type=(settings.kv_type or "f16").lower(),
        micro_batch=settings.micro_batch,
        flash_attention=settings.flash_attention,
        mmap=settings.mmap,
        swa_full=settings.swa_full,
        threads=session.threads,
        port=int(session.options.get("port") or (free_port(PORT) if session.options.get("serve") else 0)),
        alias=Path(settings.model).name,
    )


def prove(model: Model, settings: Any, session: Session) -> None:
    """Prefill and decode as planned, each several times; memory by part from llama.cpp's own lines."""
    options = options_of(settings, session)
    path = file_for(model, settings, session)
    llama = _loaded(path, options, session)
    source = random.Random(1)
    prompt = [source.randrange(min(300, model.vocab // 2), model.vocab - 1) for _ in range(settings.prompt_tokens)]
    with session.phase("warm_up"):
        llama.generate(prompt[:32], 4)
    with session.phase("prefill"):
        read = repeated(
            session, "prefill", lambda: side_by_side(settings.batch, lambda slot: llama.generate(prompt, 1, slot=slot))
        )
    with session.phase("decode"):
        written = repeated(
            session,
            "decode",
            lambda: side_by_side(
                settings.batch, lambda slot: _decode(llama, prompt, settings.output_tokens, session, slot)
            ),
        )
    if read:
        rates = [t.prompt_per_s for t in read]
        session.emit("timings", name="prefill_seconds", seconds=[t.prompt_seconds for t in read])
        session.measured("prefill_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))
        first = [t.first_token_seconds for t in read if t.first_token_seconds is not None]
        session.measured("first_token_seconds", statistics.median(first) if first else None, "s")
    rates = [t.output_per_s for t in written if t.output_per_s is not None]
    if rates:
        session.measured("decode_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))


def side_by_side(count: int, once: Callable[[int], Timing]) -> Timing:
    """`once(slot)` in as many conversations at the same time; their tokens together, the time of the slowest."""
    if count == 1:
        return once(0)
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(once, range(count)))
    rates = [t.output_per_s for t in found if t.output_per_s is not None]
    first = [t.first_token_seconds for t in found if t.first_token_seconds is not None]
    return Timing(
        prompt_tokens=sum(t.prompt_tokens for t in found),
        prompt_seconds=max(t.prompt_seconds for t in found),
        cached_tokens=sum(t.cached_tokens for t in found),
        output_tokens=sum(t.output_tokens for t in found),
        output_per_s=sum(rates) if rates else None,
        first_token_seconds=max(first) if first else None,
    )


def _decode(llama: Llama, prompt: Sequence[int], count: int, session: Session, slot: int) -> Timing:
    """The prompt is still in the cache: what is timed is the answer alone."""
    done = 0
    times: list[float] = []

    def each(_: str) -> bool:
        nonlocal done
        done += 1
        times.append(time.perf_counter())
        if slot == 0:
            session.progress(done, count, "tokens")
        return session.stopping

    timing = llama.generate(prompt, count, reuse=True, each=each, slot=slot)
    session.emit("timings", name="token_seconds", seconds=[b - a for a, b in pairwise(times)])
    return timing


def file_for(model: Model, settings: Any, session: Session) -> Path:
    """The user's own GGUF if the setting names one, else a synthetic one. Raises BadFile or NoRoom."""
    if settings.model.lower().endswith(".gguf"):
        return gguf_path(settings.model)
    quant = (settings.quant or "q4_k_m").lower()

    def show(done: float, of: float) -> None:
        session.progress(done, of, "bytes", doing=f"writing a synthetic {quant} model of {show_size(of)}")

    return synthetic_gguf(model, gguf_types(model, quant), quant, session.cache, show)


def gguf_path(name: str) -> Path:
    """The GGUF file that a setting names. Raises BadFile."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise BadFile(
            f'"{name}" is no file, and a chat on llama.cpp needs the weights',
            why="a name is enough to plan and to prove, which download nothing",
            next="give --weights path/to/model.gguf, or --weights owner/name of a hub repository with GGUF files",
        )
    return path


def _loaded(path: Path, options: Options, session: Session) -> Llama:
    library = llama_library()
    session.baseline()
    with session.phase("load"):
        llama = load(path, options, session.folder / "log.txt")
    gpu = session.device != "cpu"
    for name, size in by_part(llama.buffers, gpu).items():
        session.measured(name, float(size), "bytes", "llama.cpp's own lines")
    session.emit(
        "effective",
        settings={
            "engine_version": getattr(library, "__version__", "unknown"),
            "threads": options.threads,
            "load_mode": "mmap" if options.mmap else "read",
            "buffers": [{"where": b.where, "kind": b.kind, "bytes": b.bytes} for b in llama.buffers],
            **llama.effective,
        },
    )
    return llama


def run(settings: Any, session: Session) -> dict[str, Any]:
    """Chat: one answer to options["prompt"], a server with options["serve"], else turn by turn until told to stop."""
    source = str(session.options.get("weights") or settings.model)
    if is_hub_id(source):
        session.emit("log", text=f"fetching {source} from the hub")
        path = gguf_from_hub(source, settings.quant or "q4_k_m")
    else:
        path = gguf_path(source)
    options = options_of(settings, session)
    llama = _loaded(path, options, session)
    if session.options.get("serve"):
        session.emit("serving", address=llama.address, model=options.alias)
        for _ in session.asked():
            pass
        return {"served": llama.address}
    talk = Conversation(llama, settings, session)
    prompt = session.options.get("prompt")
    if prompt is not None:
        talk.answer(str(prompt))
        return talk.figures()
    session.emit("turn")
    for command in session.asked():
        talk.answer(str(command.get("say", "")))
        if session.stopping:
            break
        session.emit("turn")
    return talk.figures()


class Conversation:
    """The messages so far and how fast each answer came."""

    def __init__(self, llama: Llama, settings: Any, session: Session) -> None:
        self.llama, self.settings, self.session = llama, settings, session
        self.messages: list[dict[str, Any]] = []
        self.timings: list[Timing] = []
        system = session.options.get("system")
        if system:
            self.messages.append({"role": "system", "content": system})

    def answer(self, text: str) -> None:
        """Stream one answer; its rates are told when it is complete."""
        self.messages.append({"role": "user", "content": text})
        pieces: list[str] = []

        def each(piece: str) -> bool:
            if piece:
                pieces.append(piece)
                self.session.emit("text", text=piece)
            return self.session.stopping

        count = int(self.session.options.get("tokens") or -1)
        with self.session.phase("answer"):
            timing = self.llama.chat(self.messages, count, each)
        self.messages.append({"role": "assistant", "content": "".join(pieces)})
        self.timings.append(timing)
        self.session.emit(
            "answered",
            prompt_tokens=timing.prompt_tokens,
            output_tokens=timing.output_tokens,
            prefill_tokens_per_s=timing.prompt_per_s if timing.prompt_tokens > 1 else None,
            decode_tokens_per_s=timing.output_per_s,
            first_token_seconds=timing.first_token_seconds,
        )

    def figures(self) -> dict[str, Any]:
        """For the Record: median decode rate over all answers of some length."""
        rates = [t.output_per_s for t in self.timings if t.output_per_s is not None and t.output_tokens >= 8]
        if rates:
            self.session.measured("decode_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))
        reads = [t.prompt_per_s for t in self.timings if t.prompt_tokens >= 64]
        if reads:
            self.session.measured("prefill_tokens_per_s", statistics.median(reads), "tokens/s", spread(reads))
        return {"answers": len(self.timings), "tokens": sum(t.output_tokens for t in self.timings)}
