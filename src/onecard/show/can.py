"""What a card can do, as one table a reader scans from top to bottom: grouped, one line a case, the verdict in front."""

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from onecard.core.plan import NO, OFFLOAD, Plan
from onecard.core.units import GiB, show_rate, show_size
from onecard.show.text import MARKS, STYLES, main_rate, rate_unit, short_settings

if TYPE_CHECKING:
    from rich.table import Table  # only for what has to fold

HEADINGS = ("", "with", "peak of usable", "speed")
RIGHT = (False, False, True, True)
GAP = 2


def can_view(plans: list[Plan], device: str, usable: str) -> RenderableType:
    """Plans grouped by workload and by the group in each plan's first note, in columns that all groups share."""
    return Group(Text.assemble((device, "bold"), f"  {usable}"), _Cases(plans))


class _Row(NamedTuple):
    """The cells of one case."""

    case: Text
    settings: str
    peak: str
    speed: str


class _Cases:
    """All groups, laid out for the width there is: where the lines would break, the peak is shown without what it is held against."""

    def __init__(self, plans: list[Plan]) -> None:
        self.groups = [(title, list(found)) for title, found in groupby(plans, _title)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for short in (False, True):
            groups = [(title, [_row(plan, short) for plan in plans]) for title, plans in self.groups]
            headings = HEADINGS if not short else (*HEADINGS[:2], "peak", HEADINGS[3])
            widths = _widths([row for _, rows in groups for row in rows], headings)
            if sum(widths) + GAP * (len(widths) - 1) <= options.max_width:
                yield _lines(groups, headings, widths)
                return
        else:
            # Still too wide: the settings fold, and nothing else does.
            spare = options.max_width - (sum(widths) - widths[1] + GAP * (len(widths) - 1))
            widths = (widths[0], max(12, spare), *widths[2:])
        yield _table([_Row(Text(headings[0]), *headings[1:])], widths, "dim")
        for title, rows in groups:
            yield Text(title, "bold underline")
            yield _table(rows, widths)


def _lines(groups: list[tuple[str, list[_Row]]], headings: tuple[str, ...], widths: tuple[int, ...]) -> Text:
    """All groups as one text, where nothing has to fold: a table of its own for each of them takes three times as long."""
    text = Text()

    def line(row: _Row, style: str) -> None:
        text.append_text(row.case)
        text.append(" " * (widths[0] - len(row.case) + GAP))
        text.append(f"{row.settings:{widths[1]}}", "dim")
        text.append(f"{'':{GAP}}{row.peak:>{widths[2]}}{'':{GAP}}{row.speed:>{widths[3]}}\n", style)

    line(_Row(Text(headings[0]), *headings[1:]), "dim")
    for title, rows in groups:
        text.append(f"{title}\n", "bold underline")
        for row in rows:
            line(row, "")
    text.right_crop()
    return text


def _widths(rows: list[_Row], headings: tuple[str, ...]) -> tuple[int, ...]:
    cells = [headings, *((row.case.plain, row.settings, row.peak, row.speed) for row in rows)]
    return tuple(max(map(len, column)) for column in zip(*cells, strict=True))


def _table(rows: list[_Row], widths: tuple[int, ...], style: str = "") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for width, right in zip(widths, RIGHT, strict=True):
        table.add_column(width=width, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(row.case, Text(row.settings, "dim"), Text(row.peak, style), Text(row.speed, style))
    return table


def _title(plan: Plan) -> str:
    return f"{plan.workload}: {_group(plan)}" if _group(plan) and plan.settings.get("model") else plan.workload


def _group(plan: Plan) -> str:
    """`can` puts the group of a well-known case in front of the notes."""
    return plan.notes[0] if plan.notes else ""


def case_name(plan: Plan) -> str:
    """What a reader calls the case: the model, or the group where the workload has no models."""
    return str(plan.settings.get("model") or _group(plan) or plan.workload)


def _row(plan: Plan, short: bool) -> _Row:
    memory = plan.estimate.memory
    tried = plan.decisions[-1].tried if plan.decisions else {}
    peak = memory.peak_bytes.likely
    return _Row(
        Text.assemble((f"{MARKS[plan.verdict]:11}", STYLES[plan.verdict]), case_name(plan)),
        # All layers on the card is what one expects; how many is news only where some are not.
        short_settings(tried, () if plan.verdict == OFFLOAD else ("n_gpu_layers",)),
        show_size(peak) if short else f"{peak / GiB:.2f} of {memory.usable_bytes / GiB:.2f} GiB",
        "" if plan.verdict == NO else _speed(plan),
    )


def _speed(plan: Plan) -> str:
    """The rate that a person feels: the last phase's (decode after prefill, a step of training)."""
    if not plan.estimate.rates:
        return ""
    name = main_rate(list(plan.estimate.rates))
    return show_rate(plan.estimate.rates[name].likely, rate_unit(name)[1])


def compare_view(answers: dict[str, list[Plan]]) -> RenderableType:
    """Cards side by side: what each offers, then one line a case, one column a card."""
    return _Sides(answers)


class _Sides:
    """The comparison; where lines would break, verdicts are signs alone and cards lack their brand, then units stand in the title."""

    def __init__(self, answers: dict[str, list[Plan]]) -> None:
        self.answers = answers

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for level in (0, 1, 2):
            table = self._table(level)
            if console.measure(table, options=options.update(max_width=10_000)).maximum <= options.max_width:
                break
        yield table

    def _table(self, level: int) -> "Table":
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
        table.add_column("")
        for card in self.answers:
            table.add_column(card.removeprefix("GeForce ") if level else card)
        for name, told in _FACTS.items():
            table.add_row(Text(name, "dim"), *(Text(told(plans[0].device), "dim") for plans in self.answers.values()))
        every = list(zip(*self.answers.values(), strict=True))
        marks = 1 if level else max(len(MARKS[plan.verdict]) for row in every for plan in row)
        for workload, found in groupby(every, lambda row: row[0].workload):
            rows = list(found)
            unit = _speed(rows[0][0]).rpartition(" ")[2] if level == 2 else ""
            quants = [max(len(_quant(plan)) for plan in column) for column in zip(*rows, strict=True)]
            table.add_row(Text(f"{workload}, {unit}" if unit else workload, "bold underline"))
            for row in rows:
                sides = (_side(plan, marks, quant, unit) for plan, quant in zip(row, quants, strict=True))
                table.add_row(case_name(row[0]), *sides)
        return table


_FACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "memory": lambda card: show_size(card["memory_total"]),
    "bandwidth": lambda card: f"{card['bandwidth'] / 1e9:,.0f} GB/s",
    "fp16": lambda card: (
        f"{card['flops']['fp16'] / 1e12:,.1f} TFLOPS" if card["flops"].get("fp16") else "no matrix units"
    ),
    "power": lambda card: f"{card['power']:.0f} W" if card.get("power") else "unknown",
}
"""What a buyer compares first, from the Device of each card's plans"""


def _quant(plan: Plan) -> str:
    tried = plan.decisions[-1].tried if plan.decisions else {}
    return str(tried.get("quant", "")) if plan.verdict != NO else ""


def _side(plan: Plan, marks: int, quant: int, unit: str) -> Text:
    mark = MARKS[plan.verdict][:marks].ljust(marks)
    name = f" {_quant(plan):{quant}}" if quant else ""
    speed = "" if plan.verdict == NO else f" {_speed(plan).removesuffix(f' {unit}')}"
    return Text.assemble((mark, STYLES[plan.verdict]), name, speed)
