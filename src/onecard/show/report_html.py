"""A Report as one HTML file that needs nothing else: no network, no script; light and dark; printable."""

from collections.abc import Iterable
from html import escape
from typing import Any

from onecard.core.plan import Plan
from onecard.core.record import Record
from onecard.core.report import Report
from onecard.core.units import GiB, show_rate, show_seconds, show_size
from onecard.show.drawing import COLOURS, range_bar, scatter, stacked_bar, timeline
from onecard.show.report_text import measured_text
from onecard.show.text import LIMITERS, MARKS, part_name, rate_unit, settings_line, size_range

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2430;--soft:#5b6675;--line:#d5dbe3;--card:#f6f8fa;
--c1:#2563eb;--c2:#ea580c;--c3:#0d9488;--c4:#9333ea;--c5:#ca8a04;--c6:#db2777;--c7:#64748b;--c8:#16a34a;
--fits:#15803d;--tight:#a16207;--offload:#0e7490;--no:#b91c1c}
@media (prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#e6eaf0;--soft:#9aa6b5;--line:#36404d;--card:#1a2029;
--c1:#60a5fa;--c2:#fb923c;--c3:#2dd4bf;--c4:#c084fc;--c5:#facc15;--c6:#f472b6;--c7:#94a3b8;--c8:#4ade80;
--fits:#4ade80;--tight:#facc15;--offload:#22d3ee;--no:#f87171}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:0}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}h3{margin-bottom:.2rem}
.soft,figcaption,small{color:var(--soft)}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem .25rem 0;vertical-align:top}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
section.plan,section.record{background:var(--card);
border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;margin:1rem 0;break-inside:avoid}
svg{display:block}
svg.bar{width:100%;height:22px;
border-radius:4px;background:var(--line)}svg.range{width:200px}svg.scatter{width:26rem;max-width:100%}
svg.timeline{width:100%;background:var(--card);border:1px solid var(--line)}
svg text{font:11px system-ui;fill:var(--soft)}
figure{margin:.6rem 0}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em}
.fits,.ok,.info{color:var(--fits)}.tight,.warning,.stopped{color:var(--tight)}.offload{color:var(--offload)}.no,.error,.oom,.failed{color:var(--no)}
.verdict{font-weight:700}@media print{body{max-width:none;margin:0}section{border-color:#999}}
"""


TIMELINES = {
    "device_used": ("memory of the card", GiB, "GiB"),
    "driver": ("memory of this process on the card", GiB, "GiB"),
    "rss": ("host memory of the process", GiB, "GiB"),
    "utilisation": ("utilisation", 1.0, "%"),
    "power": ("power", 1.0, "W"),
    "clock": ("clock", 1e6, "MHz"),
    "temperature": ("temperature", 1.0, "°C"),
}
"""sampled quantity -> its name for people, what it is divided by, and the unit then"""


def report_html(report: Report) -> str:
    """The whole file as text."""
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="soft">{escape(report.created)} · onecard {escape(report.version)}</p>',
        _machine(report.machine),
    ]
    if report.plans:
        body += ["<h2>Plans</h2>", *(_plan(p) for p in report.plans)]
    if report.records:
        body += [
            "<h2>Predicted against measured</h2>",
            _comparison(report.records),
            *(_record(r) for r in report.records),
        ]
    if report.findings:
        body += ["<h2>Findings of the doctor</h2>", _findings(report.findings)]
    if report.commands:
        body += ["<h2>Commands that made it</h2>", *(f"<p><code>{escape(c)}</code></p>" for c in report.commands)]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(report.title)}</title>'
    icon = '<link rel="icon" href="data:,">'
    return f'<!doctype html><html lang="en"><head>{head}{icon}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], numbers: frozenset[int] = frozenset()) -> str:
    """Cells are HTML; columns in `numbers` are right-aligned."""

    def cells(tag: str, values: Iterable[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{v}</{tag}>" for i, v in enumerate(values))

    lines = "".join(f"<tr>{cells('td', r)}</tr>" for r in rows)
    return f"<table><thead><tr>{cells('th', header)}</tr></thead><tbody>{lines}</tbody></table>"


def _machine(devices: Iterable[dict[str, Any]]) -> str:
    rows = []
    for d in devices:
        rates = ", ".join(f"{k} {v / 1e12:.3g} TFLOP/s" for k, v in d.get("flops", {}).items())
        free = "" if d.get("memory_free") is None else f", {show_size(d['memory_free'])} free"
        rows.append(
            (
                f"<b>{escape(d['name'])}</b>",
                f"{show_size(d['memory_total'])}{free}",
                f"{d['bandwidth'] / 1e9:.0f} GB/s",
                escape(rates),
            )
        )
    return "<h2>Machine</h2>" + _table(("device", "memory", "bandwidth", "arithmetic"), rows)


def _plan(plan: Plan) -> str:
    memory = plan.estimate.memory
    parts = [(part_name(n), r.likely) for n, r in memory.parts.items()]
    whole = max(sum(s for _, s in parts), memory.usable_bytes) * 1.02
    keys = " ".join(
        f'<span style="white-space:nowrap"><span class="key" style="background:var({COLOURS[i % len(COLOURS)]})"></span>'
        f"{escape(n)} {show_size(s)}</span>"
        for i, (n, s) in enumerate(parts)
    )
    rates = []
    for name, rate in plan.estimate.rates.items():
        phase, unit = rate_unit(name)
        drawn = range_bar(rate.low, rate.likely, rate.high, None, f"{phase} {rate.low:.4g} to {rate.high:.4g}")
        limit = plan.estimate.limiters.get(phase, "")
        rates.append((escape(phase), show_rate(rate.likely, unit), drawn, escape(LIMITERS.get(limit, limit))))
    subject = str(plan.settings.get("model") or "")
    notable = {k: v for k, v in plan.settings.items() if k in plan.notable or k == "engine"}
    return (
        f'<section class="plan"><h3><span class="verdict {plan.verdict}">{MARKS[plan.verdict]}</span> {escape(plan.workload)} '
        f"{escape(subject)} <small>on {escape(str(plan.device['name']))} · plan {plan.id}</small></h3>"
        f"<p class=soft>{escape(settings_line(notable, ('model',)))}</p>"
        f"{stacked_bar(parts, whole, memory.usable_bytes, f'memory of {subject}')}"
        f"<p><small>{keys} · peak {escape(size_range(memory.peak_bytes))} "
        f"of {show_size(memory.usable_bytes)} usable (the mark) · {escape(plan.estimate.basis)}</small></p>"
        f"{_table(('phase', 'likely', 'range', 'limited by'), rates, frozenset({1})) if rates else ''}"
        f"<p><code>{escape(plan.command)}</code></p></section>"
    )


def _points(records: Iterable[Record], memory: bool) -> list[tuple[float, float, str]]:
    scale = GiB if memory else 1.0
    return [
        (m.measured / scale, m.predicted[1] / scale, f"{r.plan.get('workload', '')} {m.name}")
        for r in records
        for m in r.measurements
        if m.predicted and m.measured and (m.unit == "bytes") == memory
    ]


def _comparison(records: tuple[Record, ...]) -> str:
    memory, rates = _points(records, True), _points(records, False)
    pieces = [scatter(memory, "GiB") if memory else "", scatter(rates, "units/s") if rates else ""]
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1rem">'
        + "".join(f"<figure>{p}</figure>" for p in pieces if p)
        + "</div>"
    )


def _record(record: Record) -> str:
    rows = []
    for m in record.measurements:
        error = "" if m.error is None else f"{m.error:+.1%}"
        drawn = range_bar(*m.predicted, m.measured, m.name) if m.predicted and m.predicted[2] > 0 else ""
        rows.append(
            (
                escape(m.name),
                measured_text(m, m.predicted[1]) if m.predicted else "",
                measured_text(m, m.measured),
                error,
                drawn,
            )
        )
    lines = [
        timeline(title, record.samples[f"{name}_t"], [v / scale for v in record.samples[name]], unit)
        for name, (title, scale, unit) in TIMELINES.items()
        if f"{name}_t" in record.samples and name in record.samples
    ]
    subject = str(record.plan.get("settings", {}).get("model") or "")
    error = f"<p class=error>{escape(record.error)}</p>" if record.error else ""
    return (
        f'<section class="record"><h3><span class="verdict {record.outcome}">{escape(record.outcome)}</span> {escape(record.kind)} '
        f"{escape(str(record.plan.get('workload', '')))} {escape(subject)} <small>record {escape(record.id)} · {escape(record.started)} · "
        f"{show_seconds(record.seconds)}</small></h3>{error}"
        f"{_table(('', 'predicted', 'measured', 'error', ''), rows, frozenset({1, 2, 3}))}{''.join(lines)}</section>"
    )


def _findings(findings: Iterable[dict[str, Any]]) -> str:
    rows = [
        (
            f'<span class="{escape(str(f.get("severity", "")))}">{escape(str(f.get("severity", "")))}</span>',
            escape(str(f.get("rule", f.get("id", "")))),
            f"{escape(str(f.get('evidence', '')))}<br><small>{escape(str(f.get('cause', '')))}</small>",
            f"<code>{escape(str(f.get('next', '')))}</code>",
        )
        for f in findings
    ]
    return _table(("", "rule", "evidence", "next"), rows)
