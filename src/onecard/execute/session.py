"""The Session that a workload meets in a real run: events go out through `send`, commands come in through a queue."""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from onecard.execute.context import cuda_context
from onecard.execute.job import Job
from onecard.execute.meter import Meter, Peaks

_PROGRESS_EVERY = 0.1
"""seconds; a bar needs no more, and a journal of a long run stays small"""


class RunSession:
    """core.session.Session, for the child process and for the inline executor alike."""

    def __init__(self, job: Job, send: Callable[[dict[str, Any]], None]) -> None:
        self.folder = Path(job.folder)
        self.cache = Path(job.cache)
        self.budget = job.budget
        self.device = job.device
        self.synthetic = job.mode == "prove"
        self.threads = job.threads
        self.options = job.options
        self.commands: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._job = job
        self._send = send
        self._stopping = False
        self._ready = False
        self._told: set[str] = set()
        self._shown = 0.0
        self.meter = Meter(self._phase_ended)

    def emit(self, event: str, **values: Any) -> None:
        self._send({"event": event, "t": round(time.time() - self._job.started, 4), **values})

    def baseline(self, *, told: bool = True) -> None:
        """told=False: measured, but nobody holds the run to its budget yet: libraries would count as the work's."""
        base = self.meter.baseline()
        if told:
            self._tell(base)

    def _tell(self, base: int) -> None:
        self._ready = True
        self.emit("ready", rss=base, threads=self.threads, context=cuda_context(self.device))

    def finished(self) -> None:
        """The work is done: where it told no baseline and opened no phase, the one from before it is told now."""
        if not self._ready:
            self._tell(self.meter.base)

    def phase(self, name: str) -> AbstractContextManager[None]:
        if not self._ready:
            self.baseline()
        # An inner phase is told each time: whoever kills the child must know where it was.
        if name not in self._told or self.meter.nested:
            self._told.add(name)
            self.emit("phase", name=name)
        return self.meter.phase(name)

    def _phase_ended(self, name: str, seconds: float, peak: Peaks) -> None:
        self.emit("phase_end", name=name, seconds=seconds, peak=peak)

    def progress(self, done: float, of: float | None, unit: str, **shown: Any) -> None:
        now = time.perf_counter()
        if now - self._shown >= _PROGRESS_EVERY or (of is not None and done >= of):
            self._shown = now
            self.emit("progress", done=done, of=of, unit=unit, shown=shown)

    def measured(self, name: str, value: float | None, unit: str, note: str = "") -> None:
        self.emit("measured", name=name, value=value, unit=unit, note=note)

    def asked(self) -> Iterator[dict[str, Any]]:
        while not self._stopping:
            command = self.commands.get()
            if command is None or command.get("stop"):
                self._stopping = True
                return
            if command.get("end"):
                return
            yield command

    def stop(self) -> None:
        """Somebody pressed Ctrl-C, or the parent is gone. Wakes up a waiting `asked`."""
        self._stopping = True
        self.commands.put(None)

    @property
    def stopping(self) -> bool:
        return self._stopping
