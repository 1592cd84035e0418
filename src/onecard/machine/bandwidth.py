"""Memory bandwidth of the CPU, measured with the C library alone: no compiler, no numpy.

Streaming weights reads memory, so reading is what counts. Two things are timed on buffers larger than the caches, with
one thread per usable core (ctypes releases the interpreter lock during a foreign call): `memcmp` of two equal buffers
(2 bytes read per byte compared) and `memmove` (one read, one written). The best pass of either is kept: whatever
disturbs a pass only makes it slower.
"""

import ctypes
import mmap
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from onecard.core.units import MiB

SECONDS = 4.0
"""whole measurement at most, allocation included"""


class Bandwidth(NamedTuple):
    """Bytes per second, and how it was found."""

    rate: float
    how: str


class _Buffer:
    """Anonymous pages, all touched, outside Python's heap."""

    def __init__(self, size: int) -> None:
        self.pages = mmap.mmap(-1, size)
        self.handle = ctypes.c_char.from_buffer(self.pages)
        self.address = ctypes.addressof(self.handle)
        ctypes.memset(self.address, 0, size)

    def close(self) -> None:
        del self.handle
        self.pages.close()


def measure(threads: int, available: int | None = None, seconds: float = SECONDS) -> Bandwidth:
    """Best rate of reading or copying, all threads together. Uses at most a quarter of `available` bytes."""
    return max(passes(threads, available, seconds))


def passes(threads: int, available: int | None = None, seconds: float = SECONDS) -> list[Bandwidth]:
    """The rate of each pass of each way, at least two of a way."""
    began = time.perf_counter()
    room = (available if available is not None else 1 << 30) // 4
    size = max(4 * MiB, min(128 * MiB, room // (2 * threads))) // 4096 * 4096
    pairs = [(_Buffer(size), _Buffer(size)) for _ in range(threads)]
    found: list[Bandwidth] = []
    try:
        compare = _memcmp()
        ways: list[tuple[str, Callable[[int, int], object]]] = [
            (f"memmove, {threads} threads", lambda a, b: ctypes.memmove(a, b, size))
        ]
        if compare is not None:
            ways.append((f"memcmp, {threads} threads", lambda a, b: compare(a, b, size)))
        turn = 0
        while turn < 2 or (time.perf_counter() - began < seconds and turn < 12):
            found += [Bandwidth(2 * size * threads / _timed(work, pairs), how) for how, work in ways]
            turn += 1
    finally:
        for pair in pairs:
            for buffer in pair:
                buffer.close()
    return found


def _timed(work: Callable[[int, int], object], pairs: list[tuple[_Buffer, _Buffer]]) -> float:
    """Seconds from the moment in which all threads stand ready until the last is done."""
    gate = threading.Barrier(len(pairs) + 1)

    def run(a: int, b: int) -> None:
        gate.wait()
        work(a, b)

    threads = [threading.Thread(target=run, args=(a.address, b.address), daemon=True) for a, b in pairs]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return max(time.perf_counter() - start, 1e-9)


def _memcmp() -> Callable[[int, int, int], int] | None:
    """The C library's memcmp where it can be found (POSIX); Windows has only memmove."""
    try:
        function = ctypes.CDLL(None).memcmp
    except (OSError, TypeError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_int
    return lambda a, b, n: int(function(a, b, n))
