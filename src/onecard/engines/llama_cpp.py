"""llama.cpp in this process, through xllamacpp: load a GGUF exactly as planned, generate, chat, serve.

xllamacpp's defaults would change a plan silently (fit_params shrinks the context, n_ctx 0 takes the model's own,
cache_ram_mib 8192 keeps old prompts in host memory, context checkpoints more of them), so each is set; what llama.cpp
made of it is read back from its own log. The same settings serve a proof, a chat and the server.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, BadSetting, OutOfMemory
from onecard.core.require import require
from onecard.engines import llama_log
from onecard.engines.llama_log import Buffer

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What changes memory or speed of a loaded model."""

    context: int
    """tokens of one conversation"""
    sequences: int = 1
    """conversations side by side; each has the whole context"""
    gpu_layers: int | None = None
    """None: all that there are"""
    kv_type: str = "f16"
    micro_batch: int = 512
    flash_attention: bool = True
    mmap: bool = True
    swa_full: bool = False
    threads: int = 1
    port: int = 0
    """of the server, 0: one that is free"""
    alias: str = ""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """llama.cpp's own clock of one request."""

    prompt_tokens: int
    prompt_seconds: float
    cached_tokens: int
    output_tokens: int
    output_per_s: float | None
    """None for a single token: its time belongs to the prompt"""
    first_token_seconds: float | None = None
    """until the first piece of text arrived here"""

    @property
    def prompt_per_s(self) -> float:
        return self.prompt_tokens / self.prompt_seconds


class Llama:
    """A loaded model. `buffers` and `effective` are what llama.cpp says that it did."""

    def __init__(self, server: Any, log: str) -> None:
        self._server = server
        self.buffers: tuple[Buffer, ...] = llama_log.buffers(log)
        self.effective: dict[str, int | str] = llama_log.effective(log)

    @property
    def address(self) -> str:
        """Where the OpenAI-compatible server answers."""
        return str(self._server.listening_address)

    def generate(
        self,
        prompt: Sequence[int] | str,
        count: int,
        *,
        reuse: bool = False,
        ignore_end: bool = True,
        each: Callable[[str], bool] | None = None,
        slot: int = -1,
    ) -> Timing:
        """Continue a prompt of token numbers or text by `count` tokens. `each` gets every piece; True stops.

        slot: which of the conversations side by side; -1 leaves the choice to llama.cpp.
        """
        request = {
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "n_predict": count,
            "ignore_eos": ignore_end,
            "cache_prompt": reuse,
            "stream": True,
            "temperature": 0.8,
            "seed": 1,
            "id_slot": slot,
        }
        return self._stream(self._server.handle_completions, request, each, lambda c: c.get("text") or "")

    def chat(self, messages: list[dict[str, Any]], count: int, each: Callable[[str], bool]) -> Timing:
        """Answer a conversation, at most `count` tokens; `each` gets every piece of the answer; True stops."""
        request = {"messages": messages, "max_tokens": count, "stream": True, "cache_prompt": True}
        return self._stream(self._server.handle_chat_completions, request, each, _delta)

    def _stream(
        self,
        call: Callable[..., Any],
        request: dict[str, Any],
        each: Callable[[str], bool] | None,
        text_of: Callable[[dict[str, Any]], str | None],
    ) -> Timing:
        start = time.perf_counter()
        first: list[float] = []
        timings: dict[str, Any] = {}
        problem: dict[str, Any] = {}

        def piece(answer: dict[str, Any]) -> bool:
            timings.update(answer.get("timings") or {})
            problem.update(answer.get("error") or {})
            if not answer.get("choices"):
                return False
            text = text_of(answer["choices"][0])
            if text is None:
                return False
            # a token that is half a letter comes as an empty text: it counts all the same
            if not first:
                first.append(time.perf_counter() - start)
            return each is not None and each(text)

        whole = call(request, piece)
        if isinstance(whole, dict):
            timings.update(whole.get("timings") or {})
            problem.update(whole.get("error") or {})
        if problem:
            raise BadSetting(
                "llama.cpp refused the request",
                why=str(problem.get("message", problem)),
                next="a longer --context holds a longer conversation",
            )
        tokens = int(timings.get("predicted_n", 0))
        return Timing(
            prompt_tokens=int(timings.get("prompt_n", 0)),
            prompt_seconds=max(float(timings.get("prompt_ms", 0.0)) / 1e3, 1e-9),
            cached_tokens=int(timings.get("cache_n", 0)),
            output_tokens=tokens,
            output_per_s=float(timings["predicted_per_second"]) if tokens > 1 else None,
            first_token_seconds=first[0] if first else None,
        )


def _delta(choice: dict[str, Any]) -> str | None:
    """The text of a piece of an answer; None for the first, which only says who speaks."""
    delta = choice.get("delta") or {}
    if "role" in delta and not delta.get("content"):
        return None
    return str(delta.get("reasoning_content") or delta.get("content") or "")


def llama_library() -> Any:
    """xllamacpp, imported. Raises MissingExtra.

    llama.cpp's threads meet at a barrier after every operation. GNU OpenMP lets the early one spin for milliseconds; on
    a processor that does anything else besides, the late one then waits for the core that the early one burns: measured
    on two busy cores, 5 tokens/s instead of 60 to 200. A thousand turns (tens of microseconds) bridge an even finish.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    return require("xllamacpp", "to run GGUF models", "gguf")


def load(path: Path, options: Options, log: Path) -> Llama:
    """Load a GGUF. llama.cpp's lines are appended to `log`. Raises BadFile, BadSetting or OutOfMemory."""
    library = llama_library()
    if not path.is_file():
        raise BadFile(f"no file {path}", next="give the path of a .gguf file")
    parameters = _parameters(library, path, options)
    with stderr_to(log):
        before = log.stat().st_size
        try:
            server = library.Server(parameters)
        except RuntimeError as error:
            raise _load_failure(path, _said(log, before, "exiting due to"), error) from None
        text = _said(log, before, "model loaded")
    # A server that is destroyed before its main loop runs waits for that loop for ever (xllamacpp 2026.10). Metrics are
    # answered by the loop, so an answer means that it runs.
    server.handle_metrics()
    return Llama(server, text)


def _parameters(library: Any, path: Path, options: Options) -> Any:
    if options.kv_type not in KV_TYPES:
        raise BadSetting(
            f'kv_type = "{options.kv_type}" will not do', why="llama.cpp has no such cache", next=f"one of {KV_TYPES}"
        )
    p = library.CommonParams()
    p.model.path = str(path)
    p.fit_params = False
    p.n_ctx = options.context * options.sequences
    p.n_parallel = options.sequences
    p.n_ubatch = options.micro_batch
    p.n_batch = max(2048, options.micro_batch)
    p.n_gpu_layers = -1 if options.gpu_layers is None else options.gpu_layers
    kv = getattr(library.ggml_type, f"GGML_TYPE_{options.kv_type.upper()}")
    p.cache_type_k = p.cache_type_v = kv
    flash = library.llama_flash_attn_type
    p.flash_attn_type = (
        flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if options.flash_attention else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    mode = library.llama_load_mode
    p.load_mode = mode.LLAMA_LOAD_MODE_MMAP if options.mmap else mode.LLAMA_LOAD_MODE_NONE
    p.swa_full = options.swa_full
    p.cache_ram_mib = 0
    p.cache_idle_slots = False
    p.n_ctx_checkpoints = 0
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = options.threads
    p.hostnames = ["127.0.0.1"]
    p.port = options.port
    p.cors_origins = "localhost"
    p.endpoint_metrics = True
    p.verbosity = 4  # buffer sizes are said at this level
    if options.alias:
        p.model_alias = {options.alias}
    return p


def _load_failure(path: Path, text: str, error: Exception) -> Exception:
    line = llama_log.no_memory(text)
    if line is not None:
        return OutOfMemory("llama.cpp could not allocate its memory", why=line)
    reason = llama_log.load_error(text)
    if reason:
        return BadFile(f"{path.name} cannot be loaded", why=reason, next="download the file again, or give another")
    return BadFile(f"llama.cpp could not start with {path.name}", why=str(error), next="its own words are in the log")


def _said(log: Path, offset: int, last: str) -> str:
    """What was logged from an offset on. llama.cpp logs from a thread of its own, a moment behind: wait for a line."""
    text = ""
    for _ in range(50):
        with log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode("utf-8", "replace")
        if last in text:
            break
        time.sleep(0.02)
    return text


@contextlib.contextmanager
def stderr_to(log: Path) -> Iterator[None]:
    """File descriptor 2 goes to `log` (appended) inside: llama.cpp writes there from C, past Python's sys.stderr."""
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
