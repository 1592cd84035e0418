"""A score card: what a device reached in each area, held against its own ceiling. Never one magic number."""

import msgspec


class Score(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One figure of a benchmark."""

    area: str
    """memory, arithmetic, link, disk, launches, or the name of a workload"""
    name: str
    unit: str
    median: float
    spread: float
    """half of (90th percentile - 10th percentile) / median"""
    samples: int
    ceiling: float | None = None
    """what the device's data sheet (or its measured bandwidth) says is possible; None: nothing to hold it against"""
    predicted: tuple[float, float, float] | None = None
    """of a workload: the range that its plan promised"""
    limit: str = ""
    """which limit of the device the ceiling is, where a workload has several: bandwidth, arithmetic"""
    note: str = ""
    busy: str = ""
    """what else kept the device at work: the figure is then too low"""

    @property
    def share(self) -> float | None:
        """Of the ceiling; above 1 where the ceiling is a cautious figure."""
        return self.median / self.ceiling if self.ceiling else None


def median(values: list[float]) -> float:
    """Middle value; the mean of the two middle ones of an even number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: list[float]) -> float:
    """Half of the distance between the 10th and the 90th percentile (nearest rank), relative to the median."""
    ordered = sorted(values)
    low, high = ordered[round(0.1 * (len(ordered) - 1))], ordered[round(0.9 * (len(ordered) - 1))]
    return (high - low) / 2 / median(values)
