"""The first lines of a report: how much fits, how well predictions held, and what the doctor found."""

from collections import Counter
from html import escape

from onecard.core.ranges import Range
from onecard.core.report import Report
from onecard.core.score import median
from onecard.show.text import MARKS


def summary(report: Report) -> str:
    """A row of tiles; one without anything to say is left out."""
    tiles = [*_plans(report), *_memory(report), *_rates(report), *_speed(report), *_doctor(report)]
    shown = "".join(
        f"<div><small>{escape(name)}</small><b>{text}</b>{escape(more)}</div>" for name, text, more in tiles
    )
    return f'<div class="tiles">{shown}</div>' if tiles else ""


Tile = tuple[str, str, str]


def _plans(report: Report) -> list[Tile]:
    counts = Counter(p.verdict for p in report.plans)
    text = " · ".join(f'<span class="{v}">{counts[v]} {v}</span>' for v in MARKS if counts[v])
    return [(f"of {len(report.plans)} plans", text, "")] if report.plans else []


def _memory(report: Report) -> list[Tile]:
    errors = [
        abs(m.error) for r in report.records for m in r.measurements if m.name == "memory.peak" and m.error is not None
    ]
    if not errors:
        return []
    close = sum(1 for e in errors if e <= 0.1)
    return [
        (
            "peak memory, predicted against measured",
            f"{median(errors):.1%} off",
            f"median; {close} of {len(errors)} within 10 %",
        )
    ]


def _rates(report: Report) -> list[Tile]:
    inside = [
        Range(*m.predicted).holds(m.measured)
        for r in report.records
        for m in r.measurements
        if m.name.endswith("_per_s") and m.predicted and m.measured
    ]
    return [("measured rates", f"{sum(inside)} of {len(inside)}", "inside their predicted range")] if inside else []


def _speed(report: Report) -> list[Tile]:
    slow = sum(1 for found in report.opinions.values() if any(not o.normal for o in found))
    count = len(report.opinions)
    return [("is the speed normal?", f"{count - slow} of {count}", "records: yes")] if count else []


def _doctor(report: Report) -> list[Tile]:
    counts = Counter(str(f.get("severity", "")) for f in report.findings)
    shown = [
        f'<span class="{s}">{counts[s]} {s}{"s" if counts[s] > 1 else ""}</span>'
        for s in ("error", "warning")
        if counts[s]
    ]
    return [("doctor", " · ".join(shown), "")] if shown else []
