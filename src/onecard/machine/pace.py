"""What a processor reaches now, as a share of the best that was measured on it: other programs, other tenants, heat.

A virtual machine shares its cores and its memory with others, and no counter tells how much is left. So a proof asks the
processor itself just before it predicts: all cores hash for a moment (SHA-256 of the standard library, which releases the
interpreter lock) and copy memory for a moment. Both were measured when the machine was first known, and their best is 1.
"""

import hashlib
import threading
import time

import msgspec

from onecard.core.units import MiB

FRESH = 90.0
"""seconds that a look is good for"""
SECONDS = 0.5
"""for the hashing; the copies take about as long"""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the best, at most 1."""

    arithmetic: float
    bandwidth: float
    at: float
    """seconds since the epoch"""

    def fresh(self, now: float) -> bool:
        return 0 <= now - self.at < FRESH


def hashing(threads: int, seconds: float = SECONDS) -> float:
    """Bytes per second that all threads together hash."""
    block = bytes(MiB)
    done = [0] * threads
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < until:
            hashlib.sha256(block).digest()
            done[index] += len(block)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - began)


def look(threads: int, available: int | None, hashes: float, bandwidth: float, how: str) -> Pace:
    """The pace now. hashes, bandwidth: the best that were measured; how: the way in which the bandwidth was."""
    from onecard.machine.bandwidth import passes

    arithmetic = hashing(threads) / hashes
    rates = sorted(p.rate for p in passes(threads, available, seconds=SECONDS) if p.how == how)
    memory = rates[len(rates) // 2] / bandwidth if rates else arithmetic
    return Pace(arithmetic=min(1.0, arithmetic), bandwidth=min(1.0, memory), at=time.time())
