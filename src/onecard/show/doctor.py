"""Findings as a terminal view: errors first, each with its evidence, its cause and one thing to do."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from onecard.core.finding import ERROR, NOTE, WARNING, Finding, RuleText

MARKS = {ERROR: ("✗ error", "bold red"), WARNING: ("! warning", "bold yellow"), NOTE: ("· note", "cyan")}


def doctor_view(
    machine: Sequence[str],
    findings: Sequence[Finding],
    checks: int,
    measured: Mapping[str, str],
    deep: bool,
    not_understood: Sequence[str] = (),
) -> RenderableType:
    """The machine, what was measured, the findings, and what they come to."""
    parts: list[RenderableType] = [*(_line(m) for m in machine)]
    if measured:
        parts += [Text(), Rule("measured now", style="dim", align="left"), _measured(measured)]
    if not_understood:
        parts.append(Text(f"left out, no such field: {', '.join(not_understood)}", style="yellow"))
    parts.append(Text())
    for finding in findings:
        parts += [_finding(finding), Text()]
    parts.append(_verdict(findings, checks, deep))
    return Group(*parts)


def _line(text: str) -> Text:
    label, _, rest = text.partition(" ")
    return Text.assemble((f"{label:<9}", "dim"), rest.strip())


def _measured(measured: Mapping[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in measured.items():
        table.add_row(Text(name, style="dim"), value)
    return table


def _finding(finding: Finding) -> RenderableType:
    mark, style = MARKS[finding.severity]
    sure = "" if finding.confidence == "high" else f" (confidence {finding.confidence})"
    title = Text.assemble((f"{mark:<10}", style), (finding.title, "bold"), (sure, "dim"))
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("seen", Text(finding.evidence))
    table.add_row("why", Text(finding.cause))
    table.add_row("next", Text(finding.next, style="bold green"))
    table.add_row("rule", Text(f"{finding.rule}, {finding.date}, {finding.source}", style="dim"))
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _verdict(findings: Sequence[Finding], checks: int, deep: bool) -> Text:
    counts = {s: sum(f.severity == s for f in findings) for s in (ERROR, WARNING, NOTE)}
    if not findings:
        more = "" if deep else "; onecard doctor --deep also tries the device"
        return Text.assemble(("✓ healthy", "bold green"), f": {checks} checks, nothing found{more}")
    words = ", ".join(f"{n} {s}{'s' if n > 1 else ''}" for s, n in counts.items() if n)
    if not counts[ERROR] and not counts[WARNING]:
        return Text.assemble(("✓ healthy", "bold green"), f": {checks} checks, {words}")
    return Text(f"{checks} checks: {words}", style="bold")


def rule_view(rule: RuleText) -> RenderableType:
    """One rule, for --explain."""
    mark, style = MARKS[rule.severity]
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("area", rule.area.replace("_", " "))
    table.add_row("looks at", Text(rule.looks_at))
    table.add_row("why", Text(rule.cause))
    if rule.messages:
        table.add_row("says", Text(" · ".join(rule.messages)))
    for platform, command in rule.next.items():
        table.add_row("next" if platform == "any" else f"next ({platform})", Text(command, style="green"))
    table.add_row("source", f"{rule.source}")
    table.add_row("as of", f"{rule.date}, confidence {rule.confidence}")
    return Group(
        Text.assemble((f"{mark}  ", style), (rule.rule, "bold"), f"  {rule.title}"), Padding(table, (0, 0, 0, 2))
    )


def rules_view(rules: Sequence[RuleText]) -> RenderableType:
    """All rules in one table, by area."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("rule", "severity", "what"):
        table.add_column(heading, style="bold" if heading == "rule" else None)
    area = ""
    for rule in rules:
        if rule.area != area:
            area = rule.area
            table.add_row(Text(area.replace("_", " "), style="cyan"), "", "")
        table.add_row(Text("  " + rule.rule), rule.severity, rule.title)
    return table
