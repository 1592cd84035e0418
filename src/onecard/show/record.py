"""A Record on the terminal: predicted against measured, part by part, with the error of each."""

import re
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.ranges import Range
from onecard.core.record import Measurement, Record
from onecard.core.units import show_rate, show_seconds, show_size
from onecard.show.text import ends_of_size, main_rate, part_name, rate_unit, subject

OUTCOME_STYLES = {"ok": "bold green", "oom": "bold red", "stopped": "bold yellow", "failed": "bold red"}


def record_view(record: Record, folder: str = "") -> RenderableType:
    """Everything about one Record that a person asks first."""
    plan = record.plan
    work = _what(record)
    head = Text.assemble(
        (record.outcome, OUTCOME_STYLES[record.outcome]),
        "  ",
        (work, "bold"),
        f" on {plan.get('device', {}).get('name', 'unknown')}",
        (f"   record {record.id}, {show_seconds(record.seconds)}", "dim"),
    )
    pieces: list[RenderableType] = [head]
    if record.error:
        pieces.append(Text(record.error, "red" if record.outcome == "failed" else "yellow"))
    seen = [m.name for m in record.measurements if m.measured is not None and m.name != "memory.peak"]
    if record.outcome == "failed" and not seen:
        return Group(*pieces)  # it failed before the work began: a table of promises would say nothing
    for title, chosen in (("memory", _memory(record)), ("speed", _speed(record))):
        if chosen:
            pieces += [Text(), measurement_table(title, chosen, record.measurements, whole=record.outcome == "ok")]
    pieces += [Text(line, "dim") for line in _notes(record)]
    if record.quality:
        pieces += [Text(), Text(_quality(record))]
    if record.outcome == "stopped" and record.kind != "prove" and "train" in plan.get("estimate", {}).get("time", {}):
        pieces.append(Text(f"onecard resume {record.id} goes on from its last checkpoint", "bold"))
    for rung in record.rungs:
        pieces.append(Text(f"out of memory: {rung.get('why', rung)}", "yellow"))
    if folder and record.outcome == "failed":
        pieces.append(Text(f"log: {folder}/log.txt", "dim"))
    return Group(*pieces)


def _memory(record: Record) -> list[Measurement]:
    return [m for m in record.measurements if m.unit == "bytes"]


def _speed(record: Record) -> list[Measurement]:
    return [m for m in record.measurements if m.unit not in ("bytes", "share")]


def measurement_table(
    title: str, rows: Sequence[Measurement], every: Sequence[Measurement] = (), *, whole: bool = True
) -> Table:
    """One line a number: predicted with its range, measured, error; beside a rate its shares of the device's limits.

    whole: the run came to its end. Where it did not, its peak is only what it had reached, and no error follows from it.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(title)
    for heading in ("predicted", "range", "measured", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", style="dim", overflow="fold")
    for row in rows:
        promise = Range(*row.predicted) if row.predicted else None
        table.add_row(
            Text(label(row.name), "bold" if row.name == "memory.peak" else ""),
            _value(promise.likely, row) if promise else "",
            _ends(promise, row) if promise else "",
            Text("not observed", "dim") if row.measured is None else _value(row.measured, row),
            _error(row, promise) if whole or row.name != "memory.peak" else Text("reached", "dim"),
            "; ".join(n for n in ("" if row.note == "not observed" else row.note, shares(row, every)) if n),
        )
    return table


def _ends(promise: Range, row: Measurement) -> str:
    """ "174 to 235", in the unit of the column beside it; nothing where both ends look alike"""
    if row.unit == "bytes":
        text = ends_of_size(promise)
    else:
        unit = _value(promise.likely, row).partition(" ")[2]
        text = " to ".join(_value(end, row).removesuffix(f" {unit}") for end in (promise.low, promise.high))
    low, _, high = text.partition(" to ")
    return "" if low == high else text


def shares(row: Measurement, every: Sequence[Measurement]) -> str:
    """ "61% of bandwidth" """
    if not row.name.endswith("_per_s"):
        return ""
    head = rate_unit(row.name)[0] + "_share_of_"
    found = [m for m in every if m.name.startswith(head) and m.measured is not None]
    return ", ".join(f"{m.measured or 0:.0%} of {m.name.removeprefix(head)}" for m in found)


def _error(row: Measurement, promise: Range | None) -> Text:
    if row.error is None or row.measured is None or promise is None:
        return Text("")
    inside = promise.holds(row.measured) or promise.low == promise.high
    return Text(f"{round(row.error, 3) + 0.0:+.1%}", "green" if inside else "yellow")


def label(name: str) -> str:
    """A figure of a Record as people call it: "KV cache", "decode", "first token seconds"."""
    place, dot, part = name.partition(".")
    if dot:
        return ("host " if place == "host" else "") + part_name(part)
    phase, _ = rate_unit(name) if name.endswith("_per_s") else (name.removesuffix("_seconds").replace("_", " "), "")
    return phase


def _value(value: float, row: Measurement) -> str:
    if row.unit == "bytes":
        return show_size(value)
    if row.unit == "share":
        return f"{value:.0%}"
    if row.unit == "s":
        return show_seconds(value)
    return show_rate(value, rate_unit(row.name)[1] if row.name.endswith("_per_s") else row.unit)


def _notes(record: Record) -> list[str]:
    notes = []
    budget = record.environment.get("budget")
    if budget:
        notes.append(f"budget {show_size(budget['bytes'])}, kept by: {budget['how']}")
    changed = [
        f"{name.replace('_', ' ')} {record.requested[name]} → {record.effective[name]}"
        for name in record.requested
        if name in record.effective and str(record.effective[name]) != str(record.requested[name])
    ]
    if changed:
        notes.append("asked for and used differ: " + ", ".join(changed))
    return notes


def _quality(record: Record) -> str:
    shown = (
        f"{k.replace('_', ' ')} {v:.4g}" if isinstance(v, float) else f"{k.replace('_', ' ')} {v}"
        for k, v in record.quality.items()
        if isinstance(v, int | float | str)
    )
    return " · ".join(shown)


_SIGNS = re.compile(r"\((?:R|TM|C)\)|(?:^NVIDIA )?GeForce ")
"""What a table's width is too dear for"""


def records_view(records: Sequence[Record]) -> RenderableType:
    """A line a Record: what, when, where, how it ended, the peak's error and the rates' main figure."""
    if not records:
        return Text("no records yet: `onecard prove chat --model ...` makes the first", "dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("record", "when (UTC)", "what", "device", "outcome"):
        table.add_column(heading, no_wrap=heading not in ("what", "device"))
    for heading in ("peak", "error", "speed", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    # The newest says which year it is: it is repeated only on lines of another one.
    this_year = records[0].started[:5]
    for record in records:
        table.add_row(
            record.id,
            record.started[:16].replace("T", " ").removeprefix(this_year),
            _what(record),
            _SIGNS.sub("", str(record.plan.get("device", {}).get("name", ""))),
            Text(record.outcome, OUTCOME_STYLES[record.outcome]),
            *_short(next((m for m in record.measurements if m.name == "memory.peak"), None), record.outcome == "ok"),
            *_short(_main_rate(record)),
        )
    return table


def _what(record: Record) -> str:
    """ "prove chat llama-3.2-1b", "bench copy" """
    settings = record.plan.get("settings", {})
    workload = record.plan.get("workload", "")
    words = (
        record.kind,
        workload if workload != record.kind else "",
        subject(settings) or settings.get("step") or "",
    )
    return " ".join(str(w) for w in words if w)


def _main_rate(record: Record) -> Measurement | None:
    rates = [m for m in record.measurements if m.name.endswith("_per_s") and m.measured is not None]
    promised = [m for m in rates if m.predicted]
    chosen = {m.name: m for m in promised or rates}
    return chosen[main_rate(list(chosen))] if chosen else None


def _short(row: Measurement | None, whole: bool = True) -> tuple[str, Text]:
    if row is None or row.measured is None or row.measured <= 0:
        return "", Text("")
    error = _error(row, Range(*row.predicted) if row.predicted and whole else None)
    return _value(row.measured, row), error
