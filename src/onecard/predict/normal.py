"""Is my speed normal? A measured rate against the plan's range, this device's own history and published records.

Three yardsticks, since each can be wrong alone: the plan may not know this card well, history may have been slow all along,
published records may come from another engine version. Where one of them calls a rate slow, `causes.py` looks for reasons.
"""

from collections.abc import Iterable, Sequence

from onecard.core.opinion import Comparison, Opinion
from onecard.core.record import Measurement, Record
from onecard.core.score import median
from onecard.predict.causes import causes

BAND = 0.15
"""a rate within 15 % of what the same work did before is the same rate: clocks, drivers and neighbours move it so much"""


def opinions(
    record: Record, history: Iterable[Record], published: Iterable[tuple[str, float, str]] = ()
) -> tuple[Opinion, ...]:
    """One Opinion for each rate of a Record.

    history: other Records; those of the same plan count.  published: (rate name, value, source) of the same card and work.
    """
    same = [r for r in history if r.id != record.id and r.outcome == "ok" and _same_work(r, record)]
    known = list(published)
    found = []
    for m in record.measurements:
        if not m.name.endswith("_per_s") or m.measured is None:
            continue
        yardsticks = (_range(m), _history(m, same), _published(m, known))
        comparisons = tuple(y for y in yardsticks if y is not None)
        opinion = Opinion(name=m.name, unit=m.unit, measured=m.measured, comparisons=comparisons)
        if not opinion.normal:
            opinion = Opinion(
                name=m.name, unit=m.unit, measured=m.measured, comparisons=comparisons, causes=causes(record, m.name)
            )
        found.append(opinion)
    return tuple(found)


def _same_work(a: Record, b: Record) -> bool:
    return all(a.plan.get(key) == b.plan.get(key) for key in ("workload", "settings")) and _device(a) == _device(b)


def _device(record: Record) -> str:
    return str(record.plan.get("device", {}).get("name", ""))


def _range(m: Measurement) -> Comparison | None:
    if not m.predicted:
        return None
    low, likely, high = m.predicted
    return Comparison(against="the plan's range", low=low, middle=likely, high=high, count=0)


def _history(m: Measurement, same: Sequence[Record]) -> Comparison | None:
    values = [v.measured for r in same for v in r.measurements if v.name == m.name and v.measured]
    if not values:
        return None
    middle = median(values)
    low, high = min(min(values), middle * (1 - BAND)), max(max(values), middle * (1 + BAND))
    return Comparison(against="this device's history", low=low, middle=middle, high=high, count=len(values))


def _published(m: Measurement, known: Sequence[tuple[str, float, str]]) -> Comparison | None:
    values = [value for name, value, _ in known if name == m.name]
    if not values:
        return None
    middle = median(values)
    low, high = min(min(values), middle * (1 - BAND)), max(max(values), middle * (1 + BAND))
    sources = sorted({source for name, _, source in known if name == m.name})
    return Comparison(
        against="published records of this card",
        low=low,
        middle=middle,
        high=high,
        count=len(values),
        source="; ".join(sources),
    )
