"""The search: from settings with open questions to settings that fit, with the trail of what was tried and refused.

Two passes over the path of least harm. First without moving work to the host, then with it. In each the first
position that fits is found by bisection (memory falls along the path); then every step that turned out to be
unnecessary is given back, so that nothing is lost that memory did not ask for.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from onecard.core.estimate import Memory
from onecard.core.plan import FITS, NO, OFFLOAD, TIGHT, Choice, Decision
from onecard.core.units import show_size
from onecard.planning.path import Position, chosen, least_harm_path

Measure = Callable[[dict[str, Any]], Memory]
"""Chosen settings -> the memory they need; cheap (no times)."""

OFFLOAD_SETTINGS = frozenset({"n_gpu_layers", "offload"})
"""Settings that keep a part of the work in host memory: a yes, but of another kind."""


def limit(memory: Memory, budget: int | None = None) -> int:
    """Bytes that the peak is held against: what is free now where that is known, else what a card by name offers."""
    room = memory.usable_bytes if memory.free_bytes is None else min(memory.usable_bytes, memory.free_bytes)
    return room if budget is None else min(room, budget)


def verdict(memory: Memory, budget: int | None = None, offloaded: bool = False) -> str:
    """fits, tight, offload or no. Never "fits" where the high end of the range would not."""
    room = limit(memory, budget)
    host = sum(p.likely for p in memory.host_parts.values())
    if memory.host_usable_bytes is not None and host > memory.host_usable_bytes:
        return NO
    if memory.peak_bytes.high <= room:
        return OFFLOAD if offloaded else FITS
    if memory.peak_bytes.likely <= room:
        return OFFLOAD if offloaded else TIGHT
    return NO


class Found(NamedTuple):
    """Where a search ended."""

    chosen: dict[str, Any]
    verdict: str
    decisions: tuple[Decision, ...]


def search(choices: tuple[Choice, ...], measure: Measure, budget: int | None = None) -> Found:
    """The choice of least harm that fits; the most harmful one with verdict "no" where none does."""
    trail: dict[Position, Decision] = {}
    peaks: dict[Position, Memory] = {}

    def look(at: Position) -> Memory:
        if at not in peaks:
            values = chosen(choices, at)
            peaks[at] = memory = measure(values)
            room = limit(memory, budget)
            fits = memory.peak_bytes.high <= room
            trail[at] = Decision(
                tried=values,
                peak_bytes=memory.peak_bytes.likely,
                usable_bytes=room,
                outcome="accepted" if fits else "refused",
                why=_why(memory, room),
            )
        return peaks[at]

    def firm(at: Position) -> bool:
        return look(at).peak_bytes.high <= limit(look(at), budget)

    def likely(at: Position) -> bool:
        return look(at).peak_bytes.likely <= limit(look(at), budget)

    resident = _without_offload(choices)
    # Offload only after everything else: first the paths on which all of the work stays on the device.
    for options, holds in ((resident, firm), (resident, likely), (choices, firm), (choices, likely)):
        path = [_widen(choices, options, at) for at in least_harm_path(options)]
        at = _first(path, holds)
        if at is not None:
            at = _give_back(choices, at, holds)
            offloaded = any(c.setting in OFFLOAD_SETTINGS and i > 0 for c, i in zip(choices, at, strict=True))
            memory = look(at)
            return Found(chosen(choices, at), verdict(memory, budget, offloaded), _ordered(trail, at))
    last = path[-1]
    return Found(chosen(choices, last), NO, _ordered(trail, None))


def _without_offload(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    return tuple(c for c in choices if c.setting not in OFFLOAD_SETTINGS)


def _widen(choices: tuple[Choice, ...], subset: tuple[Choice, ...], at: Position) -> Position:
    """A position among some of the choices as one among all: the others stay at their least harm."""
    place = {c.setting: i for c, i in zip(subset, at, strict=True)}
    return tuple(place.get(c.setting, 0) for c in choices)


def _first(path: list[Position], holds: Callable[[Position], bool]) -> Position | None:
    if not holds(path[-1]):
        return None
    low, high = 0, len(path) - 1
    while low < high:
        middle = (low + high) // 2
        if holds(path[middle]):
            high = middle
        else:
            low = middle + 1
    return path[low]


def _give_back(choices: tuple[Choice, ...], at: Position, holds: Callable[[Position], bool]) -> Position:
    """Undo steps that were not needed, the most harmful first. Bisection over each setting, since memory falls with it."""
    axes = sorted(range(len(at)), key=lambda i: choices[i].harms[at[i]], reverse=True)
    for axis in axes:
        low, high = 0, at[axis]
        while low < high:
            middle = (low + high) // 2
            if holds((*at[:axis], middle, *at[axis + 1 :])):
                high = middle
            else:
                low = middle + 1
        at = (*at[:axis], low, *at[axis + 1 :])
    return at


def _ordered(trail: dict[Position, Decision], accepted: Position | None) -> tuple[Decision, ...]:
    """Refusals from the least harm on, then the one that was taken: in the order in which a person would ask."""
    refused = [d for at, d in sorted(trail.items()) if d.outcome == "refused" and at != accepted]
    return (*refused, trail[accepted]) if accepted is not None else tuple(refused)


def _why(memory: Memory, room: int) -> str:
    peak = memory.peak_bytes
    if peak.high <= room:
        return f"{show_size(peak.likely)} likely, {show_size(peak.high)} at most, of {show_size(room)}"
    if peak.likely <= room:
        return f"{show_size(peak.likely)} likely, but up to {show_size(peak.high)} of {show_size(room)}"
    return f"{show_size(peak.likely)} is {show_size(peak.likely - room)} more than {show_size(room)}"
