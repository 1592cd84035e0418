"""The terminal that views are printed on: colour degrades by itself, a pipe gets plain text of a fixed width."""

import os
import sys

from rich.console import Console, RenderableType


def show(view: RenderableType, *, wrap: bool = True) -> None:
    """Print a view on standard output. wrap=False leaves long lines whole, so that a command can be copied."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "110"))
    Console(width=width, highlight=False).print(view, soft_wrap=not wrap)
