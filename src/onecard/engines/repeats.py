"""Repeats a measurement until it is enough: every value is kept, the median is told, the spread stands beside it."""

import time
from collections.abc import Callable
from typing import TypeVar

from onecard.core.session import Session

MOST, ENOUGH = 5, 15.0
"""most repeats of a measurement, and the seconds after which no further one begins"""

T = TypeVar("T")


def repeated(session: Session, name: str, once: Callable[[], T]) -> list[T]:
    """What `once` gave each time; shorter, possibly empty, where Ctrl-C came."""
    found: list[T] = []
    start = time.perf_counter()
    while len(found) < MOST and not session.stopping:
        found.append(once())
        session.progress(len(found), MOST, "repeats", phase=name)
        if time.perf_counter() - start > ENOUGH:
            break
    return found


def spread(values: list[float]) -> str:
    """ "median of 5, 98.1 to 104" """
    return f"median of {len(values)}, {min(values):.3g} to {max(values):.3g}"
