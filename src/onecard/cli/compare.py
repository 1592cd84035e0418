"""onecard compare CARD CARD ...: the same questions for several cards; --records: what was measured before and after."""

import click

from onecard.cli.options import JSON, echo_json
from onecard.core.plan import plan_json


@click.command(params=[JSON])
@click.argument("cards", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="all well-known cases")
@click.option(
    "--records", "of_records", is_flag=True, help="the names are two files of `onecard records --json`, or one date"
)
def command(cards: tuple[str, ...], as_json: bool, everything: bool, of_records: bool) -> None:
    """Cards side by side, or two sets of Records."""
    if of_records:
        return _records(cards, as_json)
    from onecard.api import compare

    answers = compare(*cards, everything=everything)
    if as_json:
        return echo_json({card: [plan_json(p) for p in plans] for card, plans in answers.items()})
    from onecard.show.can import compare_view
    from onecard.show.console import show

    show(compare_view(answers))


def _records(names: tuple[str, ...], as_json: bool) -> None:
    from onecard.api import compare_records, record_differences
    from onecard.core.errors import BadSetting

    if len(names) > 2:
        raise BadSetting(
            "--records takes two files or one date", next="onecard compare --records before.json after.json"
        )
    changes, differences = compare_records(*names), record_differences(*names)
    if as_json:
        return echo_json({"changes": changes, "differences": differences})
    from onecard.show.changes import changes_view
    from onecard.show.console import show

    show(changes_view(changes, differences))
