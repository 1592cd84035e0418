"""A number with its honesty: (low, likely, high). A range is a promise: 90 % of measurements fall inside it."""

from collections.abc import Iterable
from typing import Self

import msgspec


class Range(msgspec.Struct, frozen=True, array_like=True):
    """low <= likely <= high in one unit; written to JSON as [low, likely, high]."""

    low: float
    likely: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """A counted number that cannot be otherwise."""
        return cls(value, value, value)

    @classmethod
    def within(cls, likely: float, below: float, above: float) -> Self:
        """From relative margins: within(100, 0.1, 0.3) is (90, 100, 130)."""
        return cls(likely * (1 - below), likely, likely * (1 + above))

    def __add__(self, other: "Range") -> "Range":
        """Ends add up: the parts of one peak are wrong together (same model, same runtime), so no root of squares."""
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def rate(self, units: float) -> "Range":
        """units per second, where this range is seconds: the fast end of the rate is the short end of the time."""
        return Range(units / self.high, units / self.likely, units / self.low)

    def holds(self, value: float) -> bool:
        """Whether a measurement keeps the promise."""
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """high / low: 1 for an exact number; a wide range promises nothing."""
        return self.high / self.low if self.low > 0 else 1.0 if self.high == self.low else float("inf")


def total(ranges: Iterable[Range]) -> Range:
    """The sum of ranges, (0, 0, 0) for none."""
    low = likely = high = 0.0
    for r in ranges:
        low, likely, high = low + r.low, likely + r.likely, high + r.high
    return Range(low, likely, high)
