"""An answer to "is my speed normal?": a measured rate beside everything that it can be held against, and why it may be slow."""

import msgspec


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The measurement against one yardstick."""

    against: str
    """the plan's range, this device's history, published records of this card"""
    low: float
    middle: float
    high: float
    count: int
    """how many measurements stand behind it; 0 for a prediction"""
    source: str = ""

    def place(self, value: float) -> str:
        """slower, normal or faster"""
        return "slower" if value < self.low else "faster" if value > self.high else "normal"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A reason for slowness that the Record's own samples support."""

    name: str
    evidence: str
    next: str
    weight: float
    """between 0 and 1: how much of the slowness it can explain; causes are ranked by it"""


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of one rate of one Record."""

    name: str
    unit: str
    measured: float
    comparisons: tuple[Comparison, ...]
    causes: tuple[Cause, ...] = ()

    @property
    def normal(self) -> bool:
        """No yardstick calls it slow."""
        return all(c.place(self.measured) != "slower" for c in self.comparisons)
