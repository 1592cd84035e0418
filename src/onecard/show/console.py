"""The terminal that views are printed on: colour degrades by itself, a pipe gets plain text of a fixed width."""

import os
import sys

from rich.console import Console, RenderableType
from rich.text import Text

PIPE = 110
"""columns of a pipe or file, where COLUMNS does not say another width"""


def show(view: RenderableType, *, wrap: bool = True) -> None:
    """Print a view on standard output. wrap=False leaves long lines whole, so that a command can be copied.

    Nothing in a view is markup: a model may be called "[x]" or ":smile:". A single line that must stay whole is a `whole` text.
    """
    if sys.stdout.isatty():
        _console(None).print(view, soft_wrap=not wrap, crop=False)
        return
    width = os.environ.get("COLUMNS", "")
    console = _console(int(width) if width.isdigit() and int(width) > 0 else PIPE)
    with console.capture() as captured:
        console.print(view, soft_wrap=not wrap, crop=False)
    # Columns are padded to their width: in a file that is noise.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def _console(width: int | None) -> Console:
    return Console(width=width, highlight=False, markup=False, emoji=False)


def whole(line: Text) -> Text:
    """A line that is never broken by us, like a command that somebody copies: the terminal may wrap it."""
    line.no_wrap, line.overflow = True, "ignore"
    return line
