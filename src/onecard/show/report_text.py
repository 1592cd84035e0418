"""A Report as Markdown (for a forum or a README) and its measurements as CSV (for a spreadsheet)."""

import csv
import io

from onecard.core.record import Measurement
from onecard.core.report import Report
from onecard.core.units import show_rate, show_seconds, show_size
from onecard.show.bench import figure
from onecard.show.text import MARKS, rate_range, rate_unit, settings_line, size_range


def report_markdown(report: Report) -> str:
    """Headings and tables; nothing that a forum would not show."""
    lines = [f"# {report.title}", "", f"{report.created}, onecard {report.version}", "", "## Machine", ""]
    lines += ["| device | memory | bandwidth |", "|---|---|---|"]
    lines += [
        f"| {_cell(d['name'])} | {show_size(d['memory_total'])} | {d['bandwidth'] / 1e9:.0f} GB/s |"
        for d in report.machine
    ]
    if report.plans:
        lines += ["", "## Plans", "", "| verdict | work | settings | peak | speed |", "|---|---|---|---|---|"]
        for plan in report.plans:
            rates = ", ".join(
                f"{rate_unit(n)[0]} {rate_range(r, rate_unit(n)[1])}" for n, r in plan.estimate.rates.items()
            )
            subject = f"{plan.workload} {plan.settings.get('model') or ''}".strip()
            peak = size_range(plan.estimate.memory.peak_bytes)
            notable = {k: v for k, v in plan.settings.items() if k in plan.notable or k == "engine"}
            lines.append(
                f"| {MARKS[plan.verdict]} | {_cell(subject)} | {_cell(settings_line(notable, ('model',)))} | {peak} | {rates} |"
            )
    if report.records:
        lines += [
            "",
            "## Predicted against measured",
            "",
            "| work | figure | predicted | measured | error |",
            "|---|---|---|---|---|",
        ]
        for record in report.records:
            work = f"{record.plan.get('workload', '')} {record.plan.get('settings', {}).get('model') or ''}".strip()
            for m in record.measurements:
                predicted = measured_text(m, m.predicted[1]) if m.predicted else ""
                error = "" if m.error is None else f"{m.error:+.1%}"
                lines.append(
                    f"| {_cell(work)} ({record.outcome}) | {m.name} | {predicted} | {measured_text(m, m.measured)} | {error} |"
                )
    slow = [(r, o) for r in report.records for o in report.opinions.get(r.id, ()) if not o.normal]
    if slow:
        lines += ["", "## Slower than expected", ""]
    for record, opinion in slow:
        against = ", ".join(c.against for c in opinion.comparisons if c.place(opinion.measured) == "slower")
        causes = "; ".join(f"perhaps {c.name} ({c.evidence})" for c in opinion.causes)
        phase, unit = rate_unit(opinion.name)
        rate = show_rate(opinion.measured, unit)
        work = record.plan.get("workload", "")
        lines.append(f"- {work} {phase} {rate}: slower than {against}{'; ' + causes if causes else ''}")
    if report.scores:
        lines += [
            "",
            "## Benchmark",
            "",
            "| area | figure | median | spread | of its ceiling |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {s.area} | {_cell(s.name)} | {figure(s.median, s.unit)} | {f'{s.spread:.1%} of {s.samples}' if s.samples > 1 else ''} | "
            f"{'' if s.share is None else f'{s.share:.0%} {s.limit}'.strip()} |"
            for s in report.scores
        ]
    if report.findings:
        lines += ["", "## Findings of the doctor", ""]
        lines += [
            f"- **{f.get('severity', '')}** {f.get('rule', '')}: {f.get('evidence', '')}" for f in report.findings
        ]
    if report.commands:
        lines += ["", "## Commands that made it", "", *(f"    {c}" for c in report.commands)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A bar would end the cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def report_csv(report: Report) -> str:
    """One line a measurement; plain numbers in bytes, seconds or units per second."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("record", "started", "kind", "outcome", "workload", "model", "device", "plan")
    writer.writerow((*head, "name", "unit", "low", "likely", "high", "measured", "error"))
    for record in report.records:
        plan = record.plan
        device = plan.get("device", {}).get("name", "")
        model = plan.get("settings", {}).get("model") or ""
        start = (
            record.id,
            record.started,
            record.kind,
            record.outcome,
            plan.get("workload", ""),
            model,
            device,
            plan.get("id", ""),
        )
        for m in record.measurements:
            low, likely, high = m.predicted or ("", "", "")
            measured = "" if m.measured is None else m.measured
            writer.writerow((*start, m.name, m.unit, low, likely, high, measured, "" if m.error is None else m.error))
    for s in report.scores:
        start = ("", "", "bench", "ok", s.area, "", "", "")
        low, likely, high = s.predicted or ("", "", "")
        error = "" if s.predicted is None else s.predicted[1] / s.median - 1
        writer.writerow((*start, s.name, s.unit, low, likely, high, s.median, error))
    return text.getvalue()


def measured_text(m: Measurement, value: float | None) -> str:
    """A figure of a Record for people; "not observed" where there is none."""
    if value is None:
        return "not observed"
    if m.unit == "bytes":
        return show_size(value)
    if m.unit == "share":
        return f"{value:.0%}"
    return show_seconds(value) if m.unit in ("s", "seconds") else show_rate(value, m.unit)
