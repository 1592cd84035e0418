"""onecard compare CARD CARD ...: the same questions for several cards, side by side."""

import click

from onecard.cli.options import JSON, echo_json
from onecard.core.plan import plan_json


@click.command(params=[JSON])
@click.argument("cards", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="all well-known cases")
def command(cards: tuple[str, ...], as_json: bool, everything: bool) -> None:
    """Cards side by side."""
    from onecard.api import compare

    answers = compare(*cards, everything=everything)
    if as_json:
        echo_json({card: [plan_json(p) for p in plans] for card, plans in answers.items()})
        return
    from onecard.show.can import compare_view
    from onecard.show.console import show

    show(compare_view(answers))
