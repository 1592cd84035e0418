"""One plan on the terminal: verdict, memory by part with bars, rates with their limits, why these settings, what next."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.estimate import Estimate
from onecard.core.plan import NO, Plan
from onecard.core.units import show_seconds, show_size
from onecard.show.console import whole
from onecard.show.text import (
    LIMITERS,
    MARKS,
    STYLES,
    bar,
    part_name,
    rate_range,
    rate_unit,
    settings_line,
    short_settings,
    size_range,
    subject,
)


def plan_view(plan: Plan, *, decisions: int = 6) -> RenderableType:
    """Everything a person asks of a plan on one screen."""
    pieces: list[RenderableType] = [_headline(plan), Text(_settings(plan), "dim"), Text()]
    pieces += [_memory(plan), _room(plan), Text(), _speed(plan)]
    if plan.decisions:
        pieces += [Text(), _decisions(plan, decisions)]
    if plan.advice:
        pieces += [Text(), _advice(plan)]
    for note in dict.fromkeys((*plan.notes, *plan.estimate.notes)):
        pieces.append(Text(f"note: {note}", "dim"))
    if plan.estimate.terms:
        pieces += [Text(), _terms(plan)]
    if plan.verdict != NO and plan.command:
        pieces += [Text(), whole(Text.assemble(("next  ", "dim"), (plan.command, "bold")))]
        if plan.command.startswith("onecard run"):
            proof = plan.command.replace("onecard run", "onecard prove", 1)
            pieces.append(whole(Text.assemble(("      ", "dim"), proof, ("   (no download)", "dim"))))
    return Group(*pieces)


def _settings(plan: Plan) -> str:
    shown = {k: v for k, v in plan.settings.items() if k in plan.notable or k == "engine"}
    return settings_line(shown, ("model",))


def _headline(plan: Plan) -> Text:
    return Text.assemble(
        (f"{MARKS[plan.verdict]}  ", STYLES[plan.verdict]),
        (f"{plan.workload} {subject(plan.settings)}".strip(), "bold"),
        f" on {plan.device['name']}",
        (f"   plan {plan.id}", "dim"),
    )


def _memory(plan: Plan) -> Table:
    memory = plan.estimate.memory
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("memory")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("basis", style="dim")
    whole = max(memory.peak_bytes.likely, memory.usable_bytes)
    for name, size in memory.parts.items():
        table.add_row(
            part_name(name), show_size(size.likely), Text(bar(size.likely / whole), "blue"), memory.bases.get(name, "")
        )
    style = STYLES[plan.verdict]
    peak = Text(bar(memory.peak_bytes.likely / whole), style)
    table.add_row(Text("peak", "bold"), Text(show_size(memory.peak_bytes.likely), "bold"), peak, plan.estimate.basis)
    for name, size in memory.host_parts.items():
        basis = memory.bases.get(name, "")
        table.add_row(Text(f"host {part_name(name)}", "dim"), Text(show_size(size.likely), "dim"), "", basis)
    return table


def _room(plan: Plan) -> Text:
    """What the peak is held against, and what the host is asked for where that is known."""
    memory = plan.estimate.memory
    room = memory.usable_bytes
    free = "" if memory.free_bytes is None else f", {show_size(memory.free_bytes)} free now"
    cap = "" if plan.budget is None else f", budget {show_size(plan.budget)}"
    total = plan.device.get("memory_total", room)
    line = Text(
        f"{size_range(memory.peak_bytes)} in {memory.phase}, of {show_size(room)} usable ({show_size(total)} in all){free}{cap}"
    )
    host = sum(size.likely for size in memory.host_parts.values())
    if memory.host_usable_bytes is not None and memory.host_parts:
        style = "bold red" if host > memory.host_usable_bytes else "dim"
        line.append(f"\n{show_size(host)} on the host, of {show_size(memory.host_usable_bytes)}", style)
    return line


def _speed(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    first = "speed, if it fitted" if plan.verdict == NO else "speed"
    for heading in (first, "", "limited by", "basis"):
        table.add_column(heading, style="dim" if heading == "basis" else "")
    rates = {rate_unit(n)[0]: (n, r) for n, r in plan.estimate.rates.items()}
    for phase, time in plan.estimate.time.items():
        limit = LIMITERS.get(plan.estimate.limiters.get(phase, ""), plan.estimate.limiters.get(phase, ""))
        if phase in rates:
            name, rate = rates[phase]
            table.add_row(phase, rate_range(rate, rate_unit(name)[1]), limit, plan.estimate.rate_bases.get(name, ""))
        else:
            table.add_row(phase, show_seconds(time.seconds.likely), limit, "")
    if "train" in plan.estimate.time:
        table.add_row("in all", in_all(plan.estimate), "", "")
    if plan.estimate.calibrated_by:
        count = plan.estimate.calibrated_by
        table.caption = f"calibrated by {count} record{'s' if count > 1 else ''} of this device"
        table.caption_justify = "left"
    return table


def in_all(estimate: Estimate) -> str:
    """Time and energy of the whole work, the steps and all that stands around them: "22 min, 0.10 kWh"."""
    energy = estimate.energy_joules
    spent = "energy unknown" if energy is None else f"{energy.likely / 3.6e6:.2g} kWh (guess)"
    return f"{show_seconds(estimate.total_seconds.likely)}, {spent}"


def _decisions(plan: Plan, most: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("tried", "", "because"):
        table.add_column(heading)
    shown = plan.decisions if len(plan.decisions) <= most else (*plan.decisions[: most - 1], plan.decisions[-1])
    for decision in shown:
        style = "green" if decision.outcome == "accepted" else "red"
        table.add_row(
            short_settings(decision.tried) or "as asked", Text(decision.outcome, style), Text(decision.why, "dim")
        )
    if len(plan.decisions) > most:
        table.add_row(Text(f"... and {len(plan.decisions) - most} more (--json shows all)", "dim"), "", "")
    return table


def _advice(plan: Plan) -> Text:
    text = Text()
    advice = plan.advice
    assert advice is not None
    if advice.smallest_change:
        text.append("smallest change that makes it a yes: ", "dim").append(advice.smallest_change + "\n", "bold")
    if advice.largest_that_fits:
        text.append("largest that does fit: ", "dim").append(advice.largest_that_fits + "\n", "bold")
    if advice.cards:
        text.append("smallest cards that would do: ", "dim").append(", ".join(advice.cards), "bold")
    text.rstrip()
    return text


def _terms(plan: Plan) -> Group:
    """The equations; what they rest on stands once below, not in every line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("number", "value", "because", "basis"):
        table.add_column(heading, overflow="fold", style="dim" if heading == "basis" else "")
    sources: dict[str, int] = {}
    for term in plan.estimate.terms:
        mark = f" [{sources.setdefault(term.source, len(sources) + 1)}]" if term.source else ""
        table.add_row(term.name, term.value, Text(term.equation + mark), term.basis)
    return Group(table, *(Text(f"[{number}] {source}", "dim") for source, number in sources.items()))
