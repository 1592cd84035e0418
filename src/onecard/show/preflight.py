"""A preflight on the terminal: each condition with its evidence. The command is printed after it, in one line to copy."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.preflight import Preflight

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}


def preflight_view(answer: Preflight) -> RenderableType:
    """Conditions that fail name the next step."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for check in answer.checks:
        table.add_row(Text(*_MARKS[check.ok]), check.name, check.evidence, Text("" if check.ok else check.next, "dim"))
    lines: list[RenderableType] = [table]
    if not answer.ready:
        lines.append(Text("it would not start here; the command, for a machine on which it does:", "yellow"))
    return Group(*lines)
