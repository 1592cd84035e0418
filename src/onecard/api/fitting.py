"""The largest batch or context that fits on a card, found by traces instead of trial runs.

    batch = onecard.batch_that_fits(build, "RTX 4070 Ti")          # calls build(batch=n)
    found = onecard.api.largest("train.py:build", "context", on="RTX 4070 Ti", step=256, batch=1)

Every value that is told was traced itself; the law between the points only decides which to try (predict/laws.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from onecard.core.device import Device
from onecard.core.errors import NoRoom
from onecard.core.traced import Traced
from onecard.core.units import show_size
from onecard.predict.laws import Largest, largest_that_fits


def batch_that_fits(
    build: str | Path | Callable[..., Any],
    device: str | Device | None = None,
    low: int = 1,
    high: int | None = None,
    *,
    setting: str = "batch",
    budget: str | int | None = None,
    **options: Any,
) -> int:
    """The largest n for which `build(batch=n)` and two of its steps fit on the card (or in the budget).

    build: as for `trace`: "file.py:function" or a function at the top level of a file; it returns the step.
    device: a card by name; the default is this machine's.  options: as for `trace`, settings of the function included.
    Raises NoRoom where not even `low` fits, OnecardError for a program that cannot be traced.
    """
    found = largest(build, setting, on=device, low=low, high=high, budget=budget, **options)
    if found.value is None:
        raise NoRoom(
            f"{setting}={low} does not fit: it needs {show_size(found.tried[0][1])} of {show_size(found.room)}",
            next="trace it to see who holds the memory, or plan with checkpointing, a smaller model or a larger card",
        )
    return found.value


def largest(
    target: str | Path | Callable[..., Any],
    setting: str,
    *,
    on: str | Device | None = None,
    low: int = 1,
    high: int | None = None,
    step: int = 1,
    budget: str | int | None = None,
    **options: Any,
) -> Largest:
    """The largest value of one whole-number setting that fits, with the values that were tried and what they need.

    Needs are those of an allocator with nothing in its way: a value that would only run by giving cached blocks back at
    every step is not called fitting.
    """
    from onecard.api.traces import traced

    def at(value: int) -> Traced:
        given: dict[str, Any] = {**options, setting: value}
        return traced(target, on=on, budget=budget, **given)

    first = at(low)
    assert first.capacity is not None
    room = first.capacity + first.context

    def need(value: int) -> int:
        return first.needs if value == low else at(value).needs

    return largest_that_fits(need, room, low, high, step)
