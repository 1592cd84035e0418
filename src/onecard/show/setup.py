"""Steps of setting a machine up as a terminal view: what is done, what is to be typed."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from onecard.core.finding import Step


def setup_view(steps: Sequence[Step]) -> RenderableType:
    """One paragraph a step; the commands stand alone on their lines, to be copied."""
    parts: list[RenderableType] = []
    number = 0
    for step in steps:
        if step.done:
            parts.append(Text.assemble(("✓ ", "bold green"), step.title))
            continue
        number += 1
        parts.append(Text())
        parts.append(Text.assemble((f"{number}. ", "bold yellow"), (step.title, "bold")))
        if step.command:
            parts.append(Text("   " + step.command, style="bold green"))
        if step.why:
            parts.append(Text("   " + step.why, style="dim"))
        if step.source:
            parts.append(Text(f"   {step.date}, {step.source}", style="dim"))
    return Group(*parts)
