"""Errors that a person can act on.

Each says what happened with which values, why, and what to do next. The command line prints these three lines and
leaves with exit code 2; a traceback is for our own mistakes only. Inner code raises with what it knows; the border
adds context once.
"""

from collections.abc import Iterable


class OnecardError(Exception):
    """A mistake or a circumstance that the user can change.

    what: what happened, with the values.  why: the cause, where it is known.  next: one thing to do.
    """

    exit_code = 2

    def __init__(self, what: str, *, why: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next = next

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"why: {self.why}")
        if self.next:
            lines.append(f"next: {self.next}")
        return "\n".join(lines)


class UnknownName(OnecardError):
    """A card, model, workload, setting or format that nobody knows; carries the nearest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, next: str = "") -> None:
        self.nearest = nearest(name, known)
        hint = f"nearest: {', '.join(self.nearest)}" if self.nearest else ""
        super().__init__(f'unknown {kind} "{name}"', why=hint, next=next)


class BadSetting(OnecardError):
    """A setting with a value that it cannot have."""


class BadFile(OnecardError):
    """A file that is not what it should be: truncated, foreign, from a newer version."""


class MissingExtra(OnecardError):
    """Something needs a library that is not installed; the next step is one install command."""

    def __init__(self, library: str, purpose: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed",
            why=f"it is needed {purpose}",
            next=f"python -m pip install 'onecard[{extra}]'",
        )
        self.library = library
        self.extra = extra


class NoRoom(OnecardError):
    """Not enough disk or memory for what was asked."""


class DoesNotFit(OnecardError):
    """A run that is predicted not to fit, and was not forced."""

    exit_code = 1


class OutOfMemory(OnecardError):
    """The device's memory (or the budget) ran out in a run: a result, with the outcome "oom", not a mistake."""

    exit_code = 1


class Unavailable(OnecardError):
    """A network, device or program that does not answer."""


def nearest(name: str, known: Iterable[str], count: int = 4) -> tuple[str, ...]:
    """The known names closest to a misspelt one, best first (by matching blocks, case ignored)."""
    import difflib

    names = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), names, n=count, cutoff=0.5)
    return tuple(names[f] for f in found)
