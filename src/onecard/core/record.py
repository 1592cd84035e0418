"""A Record: what happened. Append-only, with a schema version; once written it is never changed."""

from typing import Any

import msgspec

from onecard.core.score import median

SCHEMA = 1

OUTCOMES = ("ok", "oom", "stopped", "failed")


CLOCKS = {"prefill": "prefill_seconds", "decode": "token_seconds"}
"""phase -> the raw times of its repeats in a Record; those of a training are "step" """


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One predicted number beside the measured one, in bytes or units per second. `measured` None: not observed."""

    name: str
    unit: str
    predicted: tuple[float, float, float] | None
    measured: float | None
    note: str = ""

    @property
    def error(self) -> float | None:
        """predicted likely / measured - 1; None where nothing was measured, or nothing above what was there before"""
        if not self.predicted or self.measured is None or self.measured <= 0:
            return None
        return self.predicted[1] / self.measured - 1


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The plan that was followed and everything that was observed while following it."""

    id: str
    kind: str
    """prove, run, bench or resume"""
    plan: dict[str, Any]
    """the whole Plan as JSON: predicted before it was measured"""
    started: str
    """ISO 8601, UTC"""
    seconds: float
    outcome: str
    requested: dict[str, Any]
    effective: dict[str, Any]
    environment: dict[str, Any]
    measurements: tuple[Measurement, ...] = ()
    samples: dict[str, list[float]] = {}
    """raw samples by name; each list has its own clock under "<name>_t" in seconds since the start"""
    quality: dict[str, Any] = {}
    error: str = ""
    rungs: tuple[dict[str, Any], ...] = ()
    """the out-of-memory ladder, where it was climbed"""
    schema: int = SCHEMA

    def repeats(self, m: Measurement) -> list[float]:
        """A measured figure of each repeat within this run: as it was kept, or from the time that each took."""
        kept = self.samples.get(m.name)
        if kept:
            return kept
        if not m.name.endswith("_per_s") or not m.measured:
            return []
        times = [t for t in self.samples.get(CLOCKS.get(m.name.partition("_")[0], "step"), []) if t > 0]
        return [m.measured * median(times) / t for t in times] if times else []
