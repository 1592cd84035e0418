"""The order of least harm: one path through the choices, from nothing given up to everything given up.

Each Choice is a setting with options from least to most harm; harms share one scale. A step of the path moves one
setting one option down, always the option that is least harmful in itself. No option needs more memory than the one before it
(a contract that a test holds for every workload), so memory only falls along the path, and the first place that fits is
found by bisection: a handful of prices instead of a product of all options.
"""

from typing import Any

from onecard.core.plan import Choice

Position = tuple[int, ...]
"""Index of the chosen option of each Choice."""


def least_harm_path(choices: tuple[Choice, ...]) -> list[Position]:
    """All positions from (0, 0, ...) to (last, last, ...), each one step from the one before.

    Steps that add equal harm go to the earlier Choice first, so a workload's own order of choices breaks ties.
    """
    at = [0] * len(choices)
    path = [tuple(at)]
    while True:
        steps = [(choice.harms[at[i] + 1], i) for i, choice in enumerate(choices) if at[i] + 1 < len(choice.options)]
        if not steps:
            return path
        # By the harm of the option itself, not by its increment: a cheap step behind a dear one waits until the dear one is due.
        _, axis = min(steps)
        at[axis] += 1
        path.append(tuple(at))


def harm(choices: tuple[Choice, ...], at: Position) -> float:
    """Total harm of a position."""
    return sum(c.harms[i] for c, i in zip(choices, at, strict=True))


def chosen(choices: tuple[Choice, ...], at: Position) -> dict[str, Any]:
    """Setting -> value at a position."""
    return {c.setting: c.options[i] for c, i in zip(choices, at, strict=True)}
