"""A Report as one HTML file that needs nothing else: no network, no script; light and dark; printable."""

from collections.abc import Iterable
from html import escape
from typing import Any

from onecard.core.plan import Plan
from onecard.core.report import Report
from onecard.core.units import show_rate, show_size
from onecard.show.drawing import COLOURS, range_bar, stacked_bar
from onecard.show.html_table import table
from onecard.show.report_records import comparison, record_section, score_card, servers
from onecard.show.report_summary import summary
from onecard.show.text import LIMITERS, MARKS, part_name, rate_unit, settings_line, size_range

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2430;--soft:#5b6675;--line:#d5dbe3;--card:#f6f8fa;
--c1:#2563eb;--c2:#ea580c;--c3:#0d9488;--c4:#9333ea;--c5:#ca8a04;--c6:#db2777;--c7:#64748b;--c8:#16a34a;
--fits:#15803d;--tight:#a16207;--offload:#0e7490;--no:#b91c1c}
@media (prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#e6eaf0;--soft:#9aa6b5;--line:#36404d;--card:#1a2029;
--c1:#60a5fa;--c2:#fb923c;--c3:#2dd4bf;--c4:#c084fc;--c5:#facc15;--c6:#f472b6;--c7:#94a3b8;--c8:#4ade80;
--fits:#4ade80;--tight:#facc15;--offload:#22d3ee;--no:#f87171}}
*{box-sizing:border-box}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
h1{font-size:1.7rem;margin-bottom:0}h2{margin-top:2.4rem;border-bottom:1px solid var(--line)}h3{margin:.1rem 0 .3rem;font-size:1.05rem}
h3 small{font-weight:400}nav{margin:.4rem 0 1rem}nav a{margin-right:1.1rem}a{color:var(--c1)}
.soft,figcaption,small{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.8rem;margin:1rem 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem .9rem}
.tiles b{display:block;font-size:1.25rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.22rem .8rem .22rem 0;vertical-align:top}
tbody tr{border-top:1px solid var(--line)}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.plans{display:grid;grid-template-columns:repeat(auto-fit,minmax(28rem,1fr));gap:1rem}
section.plan,section.record{background:var(--card);
border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;break-inside:avoid}
section.record{margin:1rem 0}section.plan td,section.plan th{font-size:.88rem;padding-right:.6rem}
section.plan svg.range{width:76px}.scores table{table-layout:fixed}.scores th:first-child{width:34%}.scores th:nth-child(4){width:27%}
.scores th:nth-child(2),.scores th:nth-child(3){width:13%}
svg{display:block}
svg.bar{width:100%;height:22px;
border-radius:4px;background:var(--line)}svg.range{width:120px;margin-top:.25rem}svg.share{display:inline-block;width:96px;height:11px;margin-right:.6rem;border-radius:3px;background:var(--line)}
svg.scatter{width:27rem;max-width:100%}
svg.timeline{width:100%;background:var(--card);border:1px solid var(--line)}
svg text{font:11px system-ui;fill:var(--soft)}
figure{margin:.6rem 0}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em}
.fits,.ok,.info{color:var(--fits)}.tight,.warning,.stopped{color:var(--tight)}.offload{color:var(--offload)}.no,.error,.oom,.failed{color:var(--no)}
.slower{color:var(--tight)}.normal,.faster{color:var(--fits)}
.verdict{font-weight:700}@media print{body{max-width:none;margin:0;font-size:12px}nav{display:none}.plans{grid-template-columns:1fr 1fr}
section{border-color:#999}h2{break-after:avoid}}
@media(max-width:44rem){.scores table{table-layout:auto}.plans{grid-template-columns:1fr}svg.range,svg.share{width:90px}}
"""


def report_html(report: Report) -> str:
    """The whole file as text."""
    parts = [
        ("machine", "Machine", _machine(report)),
        ("measured", "Predicted against measured", comparison(report.records)),
        ("scores", "Benchmark", score_card(report.scores)),
        ("servers", "Servers", servers(report.records)),
        ("findings", "Findings of the doctor", _findings(report.findings)),
        ("plans", "Plans", "".join(_plan(p) for p in report.plans)),
        ("records", "Records", "".join(record_section(r, report.opinions.get(r.id, ())) for r in report.records)),
        ("commands", "Commands that made it", "".join(f"<p><code>{escape(c)}</code></p>" for c in report.commands)),
    ]
    there = [(key, title, content) for key, title, content in parts if content]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in there)
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="soft">{escape(report.created)} · onecard {escape(report.version)}</p>',
        f"<nav>{links}</nav>",
        summary(report),
        *(
            f'<h2 id="{key}">{title}</h2><div class="{key if key in ("plans", "scores") else "part"}">{content}</div>'
            for key, title, content in there
        ),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(report.title)}</title>'
    icon = '<link rel="icon" href="data:,">'
    return f'<!doctype html><html lang="en"><head>{head}{icon}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'


def _machine(report: Report) -> str:
    rows = []
    for d in report.machine:
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
    known = report.environment
    words = [f"{known.get(k)}" for k in ("system", "release", "machine") if known.get(k)]
    words += [f"{k} {known[k]}" for k in ("python", "driver") if known.get(k)]
    words += [f"{name} {version}" for name, version in known.get("versions", {}).items()]
    line = f"<p><small>{escape(' · '.join(words))}</small></p>" if words else ""
    return table(("device", "memory", "bandwidth", "arithmetic"), rows) + line


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
        ends = f"{show_rate(rate.low, '')}to {show_rate(rate.high, '')}"
        rates.append(
            (escape(phase), show_rate(rate.likely, unit), escape(ends), drawn, escape(LIMITERS.get(limit, limit)))
        )
    subject = str(plan.settings.get("model") or "")
    notable = {k: v for k, v in plan.settings.items() if k in plan.notable or k == "engine"}
    return (
        f'<section class="plan"><h3><span class="verdict {plan.verdict}">{MARKS[plan.verdict]}</span> {escape(plan.workload)} '
        f"{escape(subject)} <small>on {escape(str(plan.device['name']))} · plan {plan.id}</small></h3>"
        f"<p class=soft>{escape(settings_line(notable, ('model',)))}</p>"
        f"{stacked_bar(parts, whole, memory.usable_bytes, f'memory of {subject}')}"
        f"<p><small>{keys} · peak {escape(size_range(memory.peak_bytes))} "
        f"of {show_size(memory.usable_bytes)} usable (the mark) · {escape(plan.estimate.basis)}</small></p>"
        f"{table(('phase', 'likely', 'range', '', 'limited by'), rates, frozenset({1, 2})) if rates else ''}"
        f"<p><code>{escape(plan.command)}</code></p></section>"
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
    return table(("", "rule", "evidence", "next"), rows) if rows else ""
