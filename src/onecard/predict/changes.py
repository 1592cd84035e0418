"""Two sets of Records side by side: ratios of medians with propagated error.

For a ratio r = b / a of independent figures the relative errors add in squares: (dr/r)^2 = (da/a)^2 + (db/b)^2 (first
order, e.g. Bevington and Robinson, "Data Reduction and Error Analysis", eq. 3.14). The error of a median of n samples is
taken as 1.2533 s / sqrt(n), its large-sample value for a normal distribution.
"""

import math
from collections.abc import Iterable, Sequence

from onecard.core.change import Change
from onecard.core.record import Record
from onecard.core.score import median

Key = tuple[str, str, str]


def changes(before: Iterable[Record], after: Iterable[Record]) -> tuple[Change, ...]:
    """Every figure that was measured for the same work on both sides, the largest change first."""
    old, new = _grouped(before), _grouped(after)
    found = [_change(key, old[key], new[key]) for key in old if key in new]
    return tuple(sorted(found, key=lambda c: -abs(math.log(c.ratio))))


def _grouped(records: Iterable[Record]) -> dict[Key, list[float]]:
    groups: dict[Key, list[float]] = {}
    for record in records:
        if record.outcome != "ok":
            continue
        for m in record.measurements:
            if m.measured:
                groups.setdefault((_work(record), m.name, m.unit), []).append(m.measured)
    return groups


def _work(record: Record) -> str:
    """Workload and settings in words; the device is left out, since it may be what changed."""
    settings = record.plan.get("settings", {})
    subject = settings.get("model") or settings.get("step") or ""
    rest = ", ".join(
        f"{k} {v}" for k, v in sorted(settings.items()) if k in ("quant", "context", "micro_batch", "batch") and v
    )
    return f"{record.plan.get('workload', '')} {subject}{', ' + rest if rest else ''}".strip()


def _change(key: Key, old: Sequence[float], new: Sequence[float]) -> Change:
    work, name, unit = key
    a, b = median(list(old)), median(list(new))
    ratio = b / a
    error = None
    if len(old) > 1 and len(new) > 1:
        error = ratio * math.hypot(_error(old) / a, _error(new) / b)
    return Change(
        work=work, name=name, unit=unit, before=a, after=b, ratio=ratio, error=error, counts=(len(old), len(new))
    )


def _error(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return 1.2533 * deviation / math.sqrt(len(values))
