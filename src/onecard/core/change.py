"""What became of a figure between two sets of Records: before and after an upgrade, a driver, another card."""

import msgspec


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one piece of work on both sides."""

    work: str
    name: str
    unit: str
    before: float
    after: float
    ratio: float
    """after / before, of the medians"""
    error: float | None
    """absolute standard error of the ratio; None where one side has a single measurement without repeats"""
    counts: tuple[int, int]
    """Records on each side"""
    within: bool = False
    """one side is a single Record: the error is of repeats within its run, and leaves out what differs between runs"""

    @property
    def certain(self) -> bool:
        """The ratio is further from 1 than twice its error."""
        return self.error is not None and abs(self.ratio - 1) > 2 * self.error


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something about the machine that is not the same on both sides: perhaps why a figure changed."""

    name: str
    """device, driver, torch, system ..."""
    before: tuple[str, ...]
    after: tuple[str, ...]
