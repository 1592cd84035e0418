"""What a running workload sees of its process: a Session, handed to `run`, `prove`, `build` and `step` in the child.

The child speaks JSON lines; everything a workload wants to tell goes through `emit`, and bars, web pages and Records
read the same lines. Protocol only: the real one lives in execute/, the one that tests use runs inline.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Session(Protocol):
    """The workload's view of the run."""

    folder: Path
    """the run's own folder: checkpoints, samples, exports"""
    cache: Path
    """for large files that may be made again (synthetic GGUF)"""
    budget: int | None
    """bytes of device memory to stay within, or None"""
    device: str
    """cuda, cuda:1, cpu, mps ... as torch spells it"""
    synthetic: bool
    """prove: random weights of the right shapes and formats, a few steps"""
    threads: int
    options: dict[str, Any]
    """how this one run was asked for, beside its settings: {"prompt": "..."}, {"serve": True}"""

    def emit(self, event: str, **values: Any) -> None:
        """Tell the parent something: emit("measured", name="decode_tokens_per_s", value=31.2)."""

    def baseline(self) -> None:
        """Libraries are loaded and nothing of the work is in memory yet: from here on memory counts as the work's."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Marks a phase; its peak memory and its time are measured."""

    def progress(self, done: float, of: float | None, unit: str, **shown: Any) -> None:
        """For the bar: done of total, with figures to show beside it (loss=...)."""

    def measured(self, name: str, value: float | None, unit: str, note: str = "") -> None:
        """A figure for the Record: name as in the Estimate (decode_tokens_per_s, memory.kv_cache); None: not observed."""

    def asked(self) -> Iterator[dict[str, Any]]:
        """What the parent sends while the run goes on: {"say": "..."} in a chat. Ends on {"end": true} and on Ctrl-C."""

    @property
    def stopping(self) -> bool:
        """Ctrl-C was pressed: save and return."""
