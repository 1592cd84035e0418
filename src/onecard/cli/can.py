"""onecard can: everything that one card can do, each with its best plan."""

import click

from onecard.cli.options import BUDGET, JSON, ON, echo_json
from onecard.core.plan import plan_json


@click.command(params=[ON, BUDGET, JSON])
@click.option("--all", "everything", is_flag=True, help="all well-known cases, not the first 12 of each workload")
def command(on: str | None = None, budget: str | None = None, as_json: bool = False, everything: bool = False) -> None:
    """What can this card do: every workload with its best plan."""
    from onecard.api import can, device

    card = device(on)
    plans = can(card, everything=everything, budget=budget)
    if as_json:
        echo_json([plan_json(p) for p in plans])
        return
    from onecard.core.units import show_size
    from onecard.show.can import can_view
    from onecard.show.console import show

    free = "" if card.memory_free is None else f", {show_size(card.memory_free)} free now"
    show(can_view(plans, card.name, f"{show_size(card.memory_total)}, {show_size(card.usable)} usable{free}"))
