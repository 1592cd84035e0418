"""Is my speed normal? One line a yardstick, then what made it slow, with the evidence."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.opinion import Opinion
from onecard.core.units import show_rate
from onecard.show.text import rate_unit

STYLES = {"slower": "yellow", "normal": "green", "faster": "green"}


def opinions_view(opinions: Sequence[Opinion]) -> RenderableType:
    """Nothing for a Record without rates."""
    pieces: list[RenderableType] = []
    for opinion in opinions:
        if not opinion.comparisons:
            continue
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        phase, unit = rate_unit(opinion.name)
        for yardstick in opinion.comparisons:
            place = yardstick.place(opinion.measured)
            count = f" ({yardstick.count})" if yardstick.count else ""
            table.add_row(
                f"{phase} {show_rate(opinion.measured, unit)}",
                Text(place, STYLES[place]),
                f"against {yardstick.against}{count}: {show_rate(yardstick.low, '').strip()} to {show_rate(yardstick.high, unit)}",
            )
        pieces.append(table)
        for cause in opinion.causes:
            pieces.append(Text.assemble("  perhaps ", (cause.name, "bold"), f": {cause.evidence}; {cause.next}"))
        if not opinion.normal and not opinion.causes:
            pieces.append(
                Text("  nothing that was sampled explains it; `onecard doctor --deep` tests the device itself", "dim")
            )
    return Group(Text("is that normal?", "dim"), *pieces) if pieces else Text()
