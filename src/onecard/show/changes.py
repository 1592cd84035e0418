"""Before and after as a table: the ratio with its error, and whether that is more than chance."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.change import Change, Difference
from onecard.core.units import show_size
from onecard.show.bench import figure
from onecard.show.record import label


def changes_view(changes: Sequence[Change], differences: Sequence[Difference] = ()) -> RenderableType:
    """One line a figure, the largest change first; below, what else is not the same on both sides."""
    if not changes:
        return Text("no work was measured on both sides", "dim")
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("work", "figure"):
        table.add_column(heading, overflow="fold")
    for heading in ("before", "after", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for c in changes:
        error = "" if c.error is None else f" ± {c.error:.3f}"
        words = "" if c.error is None else "beyond chance" if c.certain else "within chance"
        words += " of repeats in one run" if words and c.within else ""
        table.add_row(
            c.work,
            "" if c.name in c.work else label(c.name),
            _value(c.before, c.unit),
            _value(c.after, c.unit),
            f"{c.ratio:.3f}{error}",
            Text(words, "dim"),
        )
    lines = [
        Text(f"{d.name}: {', '.join(d.before) or 'unknown'} before, {', '.join(d.after) or 'unknown'} after", "dim")
        for d in differences
    ]
    return Group(table, *([Text(), *lines] if lines else []))


def _value(value: float, unit: str) -> str:
    return show_size(value) if unit == "bytes" else figure(value, unit)
