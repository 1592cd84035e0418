"""What was measured, as parts of the HTML report: scatter, one section a Record, the score card, servers."""

from collections.abc import Iterable, Sequence
from html import escape

from onecard.core.opinion import Opinion
from onecard.core.ranges import Range
from onecard.core.record import Measurement, Record
from onecard.core.score import Score
from onecard.core.units import GiB, show_rate, show_seconds
from onecard.show.bench import figure
from onecard.show.drawing import range_bar, scatter, stacked_bar, timeline
from onecard.show.html_table import table
from onecard.show.record import label, shares
from onecard.show.report_text import measured_text
from onecard.show.text import rate_range, rate_unit, settings_line, size_range

TIMELINES = {
    "device_used": ("memory of the card", GiB, "GiB"),
    "driver": ("memory of this process on the card", GiB, "GiB"),
    "rss": ("host memory of the process", GiB, "GiB"),
    "utilisation": ("utilisation", 1.0, "%"),
    "power": ("power", 1.0, "W"),
    "clock": ("clock", 1e6, "MHz"),
    "temperature": ("temperature", 1.0, "°C"),
    "loss": ("loss", 1.0, ""),
}
"""sampled quantity -> its name for people, what it is divided by, and the unit then"""


def comparison(records: Iterable[Record]) -> str:
    """Two scatters: bytes, and rates. Empty where nothing was both predicted and measured."""
    known = tuple(records)
    drawn = [scatter(_points(known, True), "GiB"), scatter(_points(known, False), "units/s")]
    figures = "".join(f"<figure>{p}</figure>" for p in drawn if p)
    return f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{figures}</div>' if figures else ""


def _points(records: Iterable[Record], memory: bool) -> list[tuple[float, float, str]]:
    scale = GiB if memory else 1.0
    return [
        (m.measured / scale, m.predicted[1] / scale, f"{r.plan.get('workload', '')} {m.name}")
        for r in records
        for m in r.measurements
        if m.predicted and m.measured and (m.unit == "bytes") == memory
    ]


def record_section(record: Record, opinions: Sequence[Opinion]) -> str:
    """One Record: its figures with ranges and limits, whether its speed is normal, and its samples over time."""
    if record.plan.get("workload") == "endpoint":
        return ""  # in the table of servers
    lines = [
        timeline(title, record.samples[f"{name}_t"], [v / scale for v in record.samples[name]], unit)
        for name, (title, scale, unit) in TIMELINES.items()
        if f"{name}_t" in record.samples and name in record.samples
    ]
    settings = record.plan.get("settings", {})
    subject = str(settings.get("model") or "")
    error = f"<p class=error>{escape(record.error)}</p>" if record.error else ""
    notable = {k: settings.get(k) for k in record.plan.get("notable", ()) if k != "model"}
    return (
        f'<section class="record"><h3><span class="verdict {record.outcome}">{escape(record.outcome)}</span> {escape(record.kind)} '
        f"{escape(str(record.plan.get('workload', '')))} {escape(subject)} <small>on {escape(_device(record))} · record "
        f"{escape(record.id)} · {escape(record.started[:19].replace('T', ' '))} · {show_seconds(record.seconds)}</small></h3>"
        f"<p class=soft>{escape(settings_line(notable))}</p>{error}{_figures(record)}"
        f"{''.join(_opinion(o) for o in opinions)}{''.join(lines)}{_command(record)}</section>"
    )


def _command(record: Record) -> str:
    """What made it: a plan names the command of a run, a proof is the same with another verb."""
    command = str(record.plan.get("command") or "")
    if record.kind == "prove":
        command = command.replace("onecard run ", "onecard prove ", 1)
    return f"<p><code>{escape(command)}</code></p>" if command else ""


def _device(record: Record) -> str:
    return str(record.plan.get("device", {}).get("name", "unknown"))


def _figures(record: Record) -> str:
    rows = []
    for m in record.measurements:
        if m.unit == "share":
            continue  # stands beside its rate
        error = "" if m.error is None else f"{m.error:+.1%}"
        drawn = range_bar(*m.predicted, m.measured, m.name) if m.predicted and m.predicted[2] > 0 else ""
        note = "" if m.note == "not observed" else m.note
        notes = "; ".join(part for part in (shares(m, record.measurements), note) if part)
        rows.append(
            (
                f"<b>{escape(label(m.name))}</b>" if m.name == "memory.peak" else escape(label(m.name)),
                escape(_promise(m)), escape(measured_text(m, m.measured)), error, drawn, f"<small>{escape(notes)}</small>",
            )
        )  # fmt: skip
    header = ("", "predicted (range)", "measured", "error", "", "")
    return table(header, rows, frozenset({1, 2, 3})) if rows else ""


def _promise(m: Measurement) -> str:
    if m.predicted is None:
        return ""
    if m.unit == "bytes":
        return size_range(Range(*m.predicted))
    return rate_range(Range(*m.predicted), m.unit) if m.name.endswith("_per_s") else measured_text(m, m.predicted[1])


def _opinion(opinion: Opinion) -> str:
    if not opinion.comparisons:
        return ""
    phase, unit = rate_unit(opinion.name)
    lines = [
        f'<span class="{c.place(opinion.measured)}">{c.place(opinion.measured)}</span> against {escape(c.against)}'
        f"{f' ({c.count})' if c.count else ''}: {show_rate(c.low, '')}to {escape(show_rate(c.high, unit))}"
        for c in opinion.comparisons
    ]
    lines += [f"perhaps <b>{escape(c.name)}</b>: {escape(c.evidence)}; {escape(c.next)}" for c in opinion.causes]
    return f"<p>{escape(phase)} {escape(show_rate(opinion.measured, unit))}: {'<br>'.join(lines)}</p>"


def score_card(scores: Sequence[Score]) -> str:
    """One table an area, each figure against the device's own ceiling; never one magic number."""
    areas: dict[str, list[Score]] = {}
    for score in scores:
        areas.setdefault(score.area, []).append(score)
    header = ("", "median", "± of samples", "of its ceiling", "its plan")
    parts = []
    for area, found in areas.items():
        rows = [
            (
                escape(s.name), escape(figure(s.median, s.unit)),
                f"{s.spread:.1%} of {s.samples}" if s.samples > 1 else "", _share(s), _plan(s),
            )
            for s in found
        ]  # fmt: skip
        parts.append(f"<h3>{escape(area)}</h3>{table(header, rows, frozenset({1, 2}))}")
    told = sorted({s.busy for s in scores if s.busy})
    busy = "".join(
        f"<p class=warning>{escape(text)} when the benchmark began: its figures are too low</p>" for text in told
    )
    return "".join(parts) + busy


def _share(score: Score) -> str:
    if score.share is None:
        return ""
    drawn = stacked_bar([("reached", score.share)], max(1.0, score.share), None, f"{score.share:.0%} of its ceiling")
    of = f" of {score.limit}" if score.limit else ""
    return drawn.replace('class="bar"', 'class="share"') + escape(f"{score.share:.0%}{of}")


def _plan(score: Score) -> str:
    if not score.predicted:
        return ""
    promise = Range(*score.predicted)
    word, style = ("inside", "normal") if promise.holds(score.median) else ("outside", "slower")
    return f'<span class="{style}">{word}</span> {escape(rate_range(promise, "").strip())}'


def servers(records: Iterable[Record]) -> str:
    """Levels of servers that were measured from outside."""
    rows = []
    for r in records:
        if r.plan.get("workload") != "endpoint":
            continue
        settings = r.plan.get("settings", {})
        found = {m.name: m.measured for m in r.measurements}
        rate, first, between = (
            found.get(k) for k in ("output_tokens_per_s", "first_token_seconds", "between_tokens_seconds")
        )
        rows.append(
            (
                escape(str(settings.get("model") or settings.get("url", ""))), f"{settings.get('concurrency', '')}",
                f"{settings.get('prompt_tokens', '')}", "" if first is None else show_seconds(first),
                "" if between is None else show_seconds(between), "" if rate is None else show_rate(rate, "tok/s"),
                f"{r.quality.get('errors', 0)} of {r.quality.get('requests', 0)}",
            )
        )  # fmt: skip
    header = ("server", "users", "prompt", "time to first token", "between tokens", "all together", "errors")
    return table(header, rows, frozenset(range(1, 7))) if rows else ""
