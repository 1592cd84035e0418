"""Two sets of Records side by side: ratios of medians with propagated error.

For a ratio r = b / a of independent figures the relative errors add in squares: (dr/r)^2 = (da/a)^2 + (db/b)^2 (first
order, e.g. Bevington and Robinson, "Data Reduction and Error Analysis", eq. 3.14). The error of a median of n samples is
taken as 1.2533 s / sqrt(n), its large-sample value for a normal distribution. One Record a side has only the repeats within its
run: their error leaves out what differs from run to run, and the Change says so.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from onecard.core.change import Change, Difference
from onecard.core.record import Record
from onecard.core.score import median

Key = tuple[str, str, str]
"""(work, name of a figure, unit)"""

OWN = frozenset({"n_gpu_layers", "engine_version", "gpu_memory_utilization", "url"})
"""settings that a machine chooses for itself: with another value it is still the same work"""


def changes(before: Iterable[Record], after: Iterable[Record]) -> tuple[Change, ...]:
    """Every figure that was measured for the same work on both sides, the largest change first."""
    first, second = list(before), list(after)
    words = _words([*first, *second])
    old, new = _grouped(first), _grouped(second)
    found = [_change((words[key[0]], *key[1:]), old[key], new[key]) for key in old if key in new]
    return tuple(sorted(found, key=lambda c: -abs(math.log(c.ratio))))


def differences(before: Iterable[Record], after: Iterable[Record]) -> tuple[Difference, ...]:
    """What else is not the same: the device, the driver, the system, versions of libraries."""
    old, new = _machines(before), _machines(after)
    return tuple(
        Difference(name=name, before=tuple(sorted(old.get(name, ()))), after=tuple(sorted(new.get(name, ()))))
        for name in (*old, *(n for n in new if n not in old))
        if old.get(name, set()) != new.get(name, set())
    )


def _machines(records: Iterable[Record]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in records:
        if record.outcome != "ok":
            continue
        known = record.environment
        named = {
            "device": record.plan.get("device", {}).get("name"),
            **{k: known.get(k) for k in ("driver", "system", "release", "python")},
        }
        for name, value in {**named, **known.get("versions", {})}.items():
            if value is not None:
                found.setdefault(name, set()).add(str(value))
    return found


class _Side:
    """What one side measured of one figure: a value of each Record, and the repeats within the last one."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.repeats: list[float] = []

    @property
    def error(self) -> float | None:
        """Standard error of the median: between Records, or from the repeats of a single one."""
        known = self.values if len(self.values) > 1 else self.repeats
        return _error(known) if len(known) > 1 else None


def _grouped(records: Iterable[Record]) -> dict[Key, _Side]:
    groups: dict[Key, _Side] = {}
    for record in records:
        if record.outcome != "ok":
            continue
        for m in record.measurements:
            if m.measured and m.measured > 0 and m.unit != "share":
                side = groups.setdefault((_work(record), m.name, m.unit), _Side())
                side.values.append(m.measured)
                side.repeats = record.repeats(m)
    return groups


def _settings(record: Record) -> dict[str, Any]:
    settings = record.plan.get("settings", {})
    return {k: v for k, v in settings.items() if v not in (None, False) and k not in OWN}


def _work(record: Record) -> str:
    """Workload and all settings, as a key; the device is left out, since it may be what changed."""
    return json.dumps([record.plan.get("workload", ""), _settings(record)], sort_keys=True, default=str)


def _words(records: Iterable[Record]) -> dict[str, str]:
    """Key of a work -> its workload, its model, and of its settings those that tell it from other works of that model."""
    works = {_work(r): (str(r.plan.get("workload", "")), _settings(r)) for r in records}
    found = {}
    for key, (workload, settings) in works.items():
        subject = settings.get("model") or settings.get("step") or ""
        alike = [s for w, s in works.values() if w == workload and (s.get("model") or s.get("step") or "") == subject]
        telling = [k for k in sorted(settings) if k in USUAL or any(s.get(k) != settings[k] for s in alike)]
        rest = ", ".join(f"{k.replace('_', ' ')} {settings[k]}" for k in telling if k not in ("model", "step"))
        found[key] = f"{workload} {subject}{', ' + rest if rest else ''}".strip()
    return found


USUAL = ("quant", "context")
"""settings that a reader wants to see in any case"""


def _change(key: Key, old: _Side, new: _Side) -> Change:
    work, name, unit = key
    a, b = median(old.values), median(new.values)
    ratio, first, second = b / a, old.error, new.error
    error = None if first is None or second is None else ratio * math.hypot(first / a, second / b)
    counts = (len(old.values), len(new.values))
    return Change(
        work=work,
        name=name,
        unit=unit,
        before=a,
        after=b,
        ratio=ratio,
        error=error,
        counts=counts,
        within=min(counts) == 1,
    )


def _error(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return 1.2533 * deviation / math.sqrt(len(values))
