"""The guard against out of memory: a run that did not fit after all goes on smaller, and stays the same run.

A run that ran out of memory is not started again with luck, nor by a loop inside the broken process. The child is gone,
all of its memory with it. The guard gives up the next thing on the ladder that helps where the memory ran out, and
starts a new child in the same folder: it finds its last checkpoint there and goes on at that step, with the same effective
batch, number of steps, order of the data and learning rate. Each rung is told, so that the Record shows it.

The ladder comes from the workload and its prices from the planner: here nothing is chosen or estimated. (What is
predicted not to fit is not started at all; api/runs.py sees to that.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.plan import Rung
from onecard.engines import checkpoint
from onecard.execute.journal import Journal
from onecard.execute.outcome import Ending

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """How a guarded run ended: the last child's Ending, the settings that it ran with, and what was given up."""

    ending: Ending
    settings: dict[str, Any]
    taken: tuple[Rung, ...]


class Whereabouts:
    """Reads a child's events to know in which phase it is; for a child that is killed and cannot say so itself."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def see(self, event: Event) -> None:
        """One event of the child, in order."""
        if event["event"] == "phase":
            self._open.append(event["name"])
        elif event["event"] == "phase_end" and event["name"] in self._open:
            while self._open.pop() != event["name"]:
                pass

    @property
    def phase(self) -> str:
        """The innermost open phase; "" outside of all."""
        return self._open[-1] if self._open else ""


def climb(
    start: Callable[[dict[str, Any], Whereabouts], Ending],
    settings: dict[str, Any],
    rungs: Sequence[Rung],
    journal: Journal,
    folder: Path,
    on_event: Callable[[Event], Any] | None = None,
) -> Climb:
    """Run to the end, climbing the ladder on every out of memory. Never raises for what happens in the child.

    start: runs one child with these settings in the run's folder and shows the Whereabouts its events. rungs: in order;
    what they change adds up. on_event: is told of every rung, like the journal.
    """
    taken: list[Rung] = []
    left = list(rungs)
    while True:
        whereabouts = Whereabouts()
        ending = start(settings, whereabouts)
        if ending.outcome != "oom":
            return Climb(ending=ending, settings=settings, taken=tuple(taken))
        phase = ending.phase or whereabouts.phase
        rung = _next(left, phase, taken)
        if rung is None:
            if rungs:
                ending = _exhausted(ending, phase, taken)
            return Climb(ending=ending, settings=settings, taken=tuple(taken))
        left.remove(rung)
        taken.append(rung)
        settings = {**settings, **rung.changed}
        reached = checkpoint.last(folder)
        told = {
            "event": "rung",
            "phase": phase,
            "error": ending.why or ending.what,
            "from_step": reached.step if reached else 0,
            **msgspec.to_builtins(rung),
        }
        journal.write(told)
        if on_event is not None:
            on_event(told)


def settings_of(events: Sequence[Event], requested: dict[str, Any]) -> dict[str, Any]:
    """What a run that is resumed goes on with: as requested, with every rung that it had already climbed."""
    settings = dict(requested)
    for event in events:
        if event["event"] == "rung":
            settings |= event["changed"]
    return settings


def _next(left: Sequence[Rung], phase: str, taken: Sequence[Rung]) -> Rung | None:
    """The first rung that helps in this phase and that, where both are priced, needs less than what just failed."""
    failed = taken[-1].peak_bytes if taken else None
    for rung in left:
        helps = not phase or phase in rung.phases
        lower = failed is None or rung.peak_bytes is None or rung.peak_bytes < failed
        if helps and lower:
            return rung
    return None


def _exhausted(ending: Ending, phase: str, taken: Sequence[Rung]) -> Ending:
    where = f" in the phase {phase}" if phase else ""
    given = ", ".join(f"{k} {v}" for rung in taken for k, v in rung.changed.items())
    return msgspec.structs.replace(
        ending,
        what=f"out of memory{where}, and nothing is left to give up",
        why=(f"already tried: {given}; " if given else "") + (ending.why or ending.what),
        next="free memory on the device, take a smaller model or a shorter context; finished steps are kept",
    )
