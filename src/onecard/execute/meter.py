"""Measures phases inside the child: time, and peaks of memory, each kind by its own name.

rss is what the system says of the whole process; its high-water mark is set back at the start of a phase (Linux:
writing 5 to /proc/self/clear_refs, see proc_pid_clear_refs(5)), so that the peak is exact and nothing has to poll.
Elsewhere a thread looks every 20 ms. allocated and reserved are torch's own counters, to the byte. What the driver
counts for the process is sampled by the parent (machine/sampler.py).

Phases nest: what an inner phase reaches counts for the outer one too.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

Peaks = dict[str, int]


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(_process().memory_info().rss)


@cache
def _process() -> Any:
    import psutil

    return psutil.Process()


def high_water() -> int | None:
    """Largest resident size since the mark was last set back; None where the system does not say (not Linux)."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def lower_mark() -> bool:
    """Set the high-water mark back to the present size. False where that is not possible."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


class Meter:
    """baseline() once, then phase(name) around each phase; `seen` gets (name, seconds, peaks) when one ends."""

    def __init__(self, seen: Callable[[str, float, Peaks], None]) -> None:
        self.seen = seen
        self.base: int = resident()
        self.failed_in = ""
        """the innermost phase that an exception left"""
        self._open: list[Peaks] = []
        self._exact = high_water() is not None and lower_mark()
        self._lock = threading.Lock()
        if not self._exact:
            threading.Thread(target=self._watch, daemon=True, name="onecard-rss").start()

    def baseline(self) -> int:
        """The resident size from which the work's memory counts."""
        import gc

        gc.collect()
        if self._exact:
            lower_mark()
        self.base = resident()
        return self.base

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what happens inside; the peaks are reported also when it fails."""
        self._gather()
        peaks: Peaks = {"rss": resident()}
        with self._lock:
            self._open.append(peaks)
        self._lower()
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            self.failed_in = self.failed_in or name
            raise
        finally:
            _synchronize()
            seconds = time.perf_counter() - start
            self._gather()
            with self._lock:
                # phases nest, so it is the innermost one (never `remove`, which finds any other with equal peaks)
                self._open.pop()
            self._lower()
            self.seen(name, seconds, dict(peaks))

    @property
    def nested(self) -> bool:
        """Inside a phase already."""
        return bool(self._open)

    def now(self) -> Peaks:
        """Peaks since the last mark, without ending anything."""
        peaks: Peaks = {"rss": resident()}
        mark = high_water() if self._exact else None
        if mark is not None:
            peaks["rss"] = max(peaks["rss"], mark)
        peaks.update(_torch_peaks())
        return peaks

    def _gather(self) -> None:
        if not self._open:
            return
        found = self.now()
        with self._lock:
            for peaks in self._open:
                for key, value in found.items():
                    peaks[key] = max(peaks.get(key, 0), value)

    def _lower(self) -> None:
        if self._exact:
            lower_mark()
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def _watch(self) -> None:
        while True:
            time.sleep(0.02)
            size = resident()
            with self._lock:
                for peaks in self._open:
                    peaks["rss"] = max(peaks.get("rss", 0), size)


def _cuda() -> Any:
    """torch.cuda if torch is loaded and has used a GPU; never loads it."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _synchronize() -> None:
    """A kernel that still runs belongs to the phase that started it."""
    cuda = _cuda()
    if cuda is not None:
        cuda.synchronize()


def _torch_peaks() -> Peaks:
    cuda = _cuda()
    if cuda is None:
        return {}
    return {"allocated": cuda.max_memory_allocated(), "reserved": cuda.max_memory_reserved()}
