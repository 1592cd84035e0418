"""Laws of memory: how the need of a step grows with one of its settings, proven by traces and never assumed.

Bytes that storages ask for are linear in depth and, mostly, in batch: each layer and each sample adds the same ones. Two
points make a line; a third that lies on it proves it. What the allocator reserves is not linear (segments have their
own sizes), so a fit is decided by tracing the candidate itself; the law only finds it in few steps.

    found = largest_that_fits(lambda n: need_of(n), room=11 * GiB)
    found.value, found.tried
"""

from collections.abc import Callable

import msgspec

TOLERANCE = 1e-3
"""relative distance from the line at which a law is no longer believed: below what an Estimate's range promises"""


class Law(msgspec.Struct, frozen=True):
    """bytes(n) = base + slope x n, on the points that prove it."""

    base: float
    slope: float
    points: tuple[tuple[int, int], ...]

    def at(self, n: float) -> float:
        """Bytes at n."""
        return self.base + self.slope * n


def law(points: dict[int, int], tolerance: float = TOLERANCE) -> Law | None:
    """The line through the outermost points, if at least three points lie on it; else None."""
    if len(points) < 3:
        return None
    ordered = sorted(points.items())
    (first, low), (last, high) = ordered[0], ordered[-1]
    slope = (high - low) / (last - first)
    line = Law(low - slope * first, slope, tuple(ordered))
    return line if all(abs(line.at(n) - size) <= tolerance * size for n, size in ordered) else None


class Largest(msgspec.Struct, frozen=True, kw_only=True):
    """The largest value that fits, and what was traced to know it."""

    value: int | None
    """None: not even the smallest fits"""
    room: int
    tried: tuple[tuple[int, int], ...]
    """(value, bytes needed), in the order of the traces"""
    law: Law | None = None
    """set where the traced points lie on a line"""
    open: bool = False
    """the largest allowed value still fits: the answer is a limit of the search, not of the card"""


def largest_that_fits(
    need: Callable[[int], int], room: int, low: int = 1, high: int | None = None, step: int = 1
) -> Largest:
    """The largest n from low to high (in steps) whose need is at most room.

    need: bytes of one value, by a trace; assumed not to fall as n grows. Between a value that fits and one that does
    not, the next try is where a line through the two meets the room; a bisection takes over where that does not halve.
    """
    tried: dict[int, int] = {}

    def ask(n: int) -> int:
        if n not in tried:
            tried[n] = need(n)
        return tried[n]

    def answer(value: int | None, open: bool = False) -> Largest:
        return Largest(value=value, room=room, tried=tuple(tried.items()), law=law(tried), open=open)

    if ask(low) > room:
        return answer(None)
    best, worst = low, None if high is None else high + step
    reach = step
    while worst is None or worst - best > step:
        if worst is None or worst not in tried:
            # no value is known yet that does not fit: follow the line of the last two points, at most eight times as far
            guess = _along(tried, best, room, low, step, reach)
            guess = guess if worst is None else min(guess, worst - step)
            reach = max(reach, guess - best) * 8
        else:
            part = (room - tried[best]) / (tried[worst] - tried[best]) if tried[worst] > tried[best] else 0.5
            guess = best + round((worst - best) * part / step) * step
            guess = min(max(guess, best + step), worst - step)
        if ask(guess) <= room:
            best = guess
            if high is not None and guess + step > high:
                return answer(best, open=True)
        else:
            worst = guess
        if worst is not None and worst in tried and worst - best > step and len(tried) > 4:
            middle = best + (worst - best) // (2 * step) * step
            if worst - best > 8 * step:
                if ask(middle) <= room:
                    best = middle
                else:
                    worst = middle
    return answer(best)


def _along(tried: dict[int, int], best: int, room: int, low: int, step: int, reach: int) -> int:
    """Where the line through the two largest known values meets the room."""
    known = sorted(tried)
    if len(known) < 2:
        return low + step
    a, b = known[-2], known[-1]
    slope = (tried[b] - tried[a]) / (b - a)
    if slope <= 0:
        return best + reach * 2
    wanted = best + max(int((room - tried[b]) / slope) // step, 1) * step
    return min(wanted, best + max(reach * 8, step))
