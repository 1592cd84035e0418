"""What a card can do, as one table a reader scans from top to bottom: grouped, one line a case, the verdict in front."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.plan import NO, OFFLOAD, Plan
from onecard.core.units import show_rate, show_size
from onecard.show.text import MARKS, STYLES, main_rate, rate_unit, short_settings


def can_view(plans: list[Plan], device: str, usable: str) -> RenderableType:
    """One table of plans, grouped by workload and by the group in each plan's first note."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("with", overflow="fold")
    table.add_column("peak of usable", justify="right", no_wrap=True)
    table.add_column("speed", justify="right", no_wrap=True)
    heading = ""
    for plan in plans:
        title = f"{plan.workload}: {_group(plan)}" if _group(plan) and plan.settings.get("model") else plan.workload
        if title != heading:
            heading = title
            table.add_row(Text(title, "bold underline"))
        table.add_row(*_row(plan))
    return Group(Text.assemble((device, "bold"), f"  {usable}"), table)


def _group(plan: Plan) -> str:
    """`can` puts the group of a well-known case in front of the notes."""
    return plan.notes[0] if plan.notes else ""


def case_name(plan: Plan) -> str:
    """What a reader calls the case: the model, or the group where the workload has no models."""
    return str(plan.settings.get("model") or _group(plan) or plan.workload)


def _row(plan: Plan) -> Iterable[RenderableType]:
    memory = plan.estimate.memory
    # One column for both, so that a heading may be as long as they are together.
    yield Text.assemble((f"{MARKS[plan.verdict]:11}", STYLES[plan.verdict]), case_name(plan))
    tried = plan.decisions[-1].tried if plan.decisions else {}
    # All layers on the card is what one expects; how many is news only where some are not.
    yield Text(short_settings(tried, () if plan.verdict == OFFLOAD else ("n_gpu_layers",)), "dim")
    yield f"{show_size(memory.peak_bytes.likely)} of {show_size(memory.usable_bytes)}"
    yield Text("", "dim") if plan.verdict == NO else _speed(plan)


def _speed(plan: Plan) -> str:
    """The rate that a person feels: the last phase's (decode after prefill, a step of training)."""
    if not plan.estimate.rates:
        return ""
    name = main_rate(list(plan.estimate.rates))
    return show_rate(plan.estimate.rates[name].likely, rate_unit(name)[1])


def compare_view(answers: dict[str, list[Plan]]) -> RenderableType:
    """Cards side by side: one line a case, one column a card."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for card in answers:
        table.add_column(card, justify="left")
    for row in zip(*answers.values(), strict=True):
        label = f"{row[0].workload}: {case_name(row[0])}"
        cells = []
        for plan in row:
            tried = plan.decisions[-1].tried if plan.decisions else {}
            quant = str(tried.get("quant", "")) if plan.verdict != NO else ""
            cells.append(
                Text.assemble(
                    (MARKS[plan.verdict], STYLES[plan.verdict]),
                    f"  {quant}  ",
                    "" if plan.verdict == NO else _speed(plan),
                )
            )
        table.add_row(label, *cells)
    return table
