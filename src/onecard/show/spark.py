"""A row of block characters for a history of numbers."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int, low: float = 0.0, high: float | None = None) -> str:
    """The last `width` values, oldest first, between low and high (default: the largest). Unknown is a dot."""
    shown = list(values)[-width:]
    known = [v for v in shown if v is not None]
    top = high if high is not None else max(known, default=0.0)
    span = top - low
    line = "".join("·" if v is None else BLOCKS[_level((v - low) / span if span > 0 else 0.0)] for v in shown)
    return line.rjust(width)


def _level(share: float) -> int:
    return max(0, min(len(BLOCKS) - 1, int(share * len(BLOCKS))))
