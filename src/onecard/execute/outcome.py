"""What an exception means: out of memory is a result that teaches the predictor, everything else is a failure."""

import sys
from typing import Any

import msgspec

from onecard.core.errors import OnecardError, OutOfMemory

_CPU_PHRASES = ("can't allocate memory", "not enough memory", "failed to allocate", "unable to allocate")
"""torch (c10/core/impl/alloc_cpu.cpp), llama.cpp (ggml_backend_cpu_buffer_type_alloc_buffer) and numpy say it like this
in an exception that is no MemoryError"""


class Ending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a child ended."""

    outcome: str
    """ok, oom, stopped or failed"""
    quality: dict[str, Any] = {}
    what: str = ""
    why: str = ""
    next: str = ""
    exit_code: int = 0
    """what a command line would leave with: 2 where the user's input was at fault, 1 for other failures"""
    phase: str = ""
    """where it failed; empty where nobody could tell"""

    @property
    def error(self) -> str:
        """The message for the Record: up to three lines, empty if all went well."""
        lines = (self.what, f"why: {self.why}" if self.why else "", f"next: {self.next}" if self.next else "")
        return "\n".join(line for line in lines if line)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it came from, says that memory ran out."""
    seen: BaseException | None = error
    torch = sys.modules.get("torch")
    kinds = (MemoryError, OutOfMemory, *((torch.OutOfMemoryError,) if torch is not None else ()))
    while seen is not None:
        if isinstance(seen, kinds):
            return True
        text = str(seen).lower()
        if isinstance(seen, RuntimeError) and ("out of memory" in text or any(p in text for p in _CPU_PHRASES)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def ending_of(error: BaseException, phase: str = "") -> Ending:
    """The Ending that an exception makes, in the phase that it left."""
    if out_of_memory(error):
        first = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(error, OutOfMemory):
            return Ending(outcome="oom", what=error.what, why=error.why, next=error.next, phase=phase, exit_code=1)
        return Ending(outcome="oom", what="out of memory", why=first[0], phase=phase, exit_code=1)
    if isinstance(error, OnecardError):
        return Ending(
            outcome="failed", what=error.what, why=error.why, next=error.next, phase=phase, exit_code=error.exit_code
        )
    last = str(error).strip().splitlines()
    return Ending(
        outcome="failed",
        what=f"{type(error).__name__}: {last[-1]}" if last else type(error).__name__,
        next="the whole traceback is in the run's log.txt",
        exit_code=1,
        phase=phase,
    )
