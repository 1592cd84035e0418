"""The search: from settings with open questions to settings that fit, with the trail of what was tried and refused.

Two passes over the path of least harm. First without moving work to the host, then with it. In each the first
position that fits is found by bisection (memory falls along the path); then every step that turned out to be
unnecessary is given back, so that nothing is lost that memory did not ask for.

Moving work to the host needs room there too. Along the second path the host's share grows and the device's falls, so where
the first place that fits the device is too much for the host, the settings that shrink both are walked first, each with as
much on the device as fits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from onecard.core.estimate import Memory
from onecard.core.plan import FITS, NO, OFFLOAD, TIGHT, Choice, Decision
from onecard.core.units import show_size
from onecard.planning.path import Position, chosen, harm, least_harm_path

Measure = Callable[[dict[str, Any]], Memory]
"""Chosen settings -> the memory they need; cheap (no times)."""

Holds = Callable[[Position], bool]
"""Whether what was chosen at a place has room."""

OFFLOAD_SETTINGS = frozenset({"n_gpu_layers", "offload"})
"""Settings that keep a part of the work in host memory: a yes, but of another kind."""


def limit(memory: Memory, budget: int | None = None) -> int:
    """Bytes that the peak is held against: what is free now where that is known, else what a card by name offers."""
    room = memory.usable_bytes if memory.free_bytes is None else min(memory.usable_bytes, memory.free_bytes)
    return room if budget is None else min(room, budget)


def host_bytes(memory: Memory) -> float:
    """What the host is likely to hold."""
    return sum(p.likely for p in memory.host_parts.values())


def host_holds(memory: Memory) -> bool:
    """Whether the host has room for its share, where its memory is known (that of a card by name is not)."""
    return memory.host_usable_bytes is None or host_bytes(memory) <= memory.host_usable_bytes


def verdict(memory: Memory, budget: int | None = None, offloaded: bool = False) -> str:
    """fits, tight, offload or no. Never "fits" where the high end of the range would not."""
    room = limit(memory, budget)
    if not host_holds(memory):
        return NO
    if memory.peak_bytes.high <= room:
        return OFFLOAD if offloaded else FITS
    if memory.peak_bytes.likely <= room:
        return OFFLOAD if offloaded else TIGHT
    return NO


TRADED = 0.05
"""share of the layers that may go to the host beyond what has to, for settings that hurt more than they do"""


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
            fits = memory.peak_bytes.high <= room and host_holds(memory)
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

    def hosted(holds: Holds) -> Holds:
        return lambda at: holds(at) and host_holds(look(at))

    resident = tuple(c for c in choices if c.setting not in OFFLOAD_SETTINGS)
    # Offload only after everything else: first the paths on which all of the work stays on the device.
    for options, holds in (
        (resident, hosted(firm)),
        (resident, hosted(likely)),
        (choices, firm),
        (choices, likely),
    ):
        path = [_widen(choices, options, at) for at in least_harm_path(options)]
        at = _first(path, holds)
        if at is not None:
            at = _give_back(choices, at, holds)
            if options is choices:
                at = _trade(choices, at, hosted(holds))
            if not host_holds(look(at)):
                at = _leaner(choices, resident, holds, hosted(holds))
        if at is not None:
            offloaded = any(c.setting in OFFLOAD_SETTINGS and i > 0 for c, i in zip(choices, at, strict=True))
            memory = look(at)
            return Found(chosen(choices, at), verdict(memory, budget, offloaded), _ordered(trail, at))
    last = path[-1]
    return Found(chosen(choices, last), NO, _ordered(trail, None))


def _trade(choices: tuple[Choice, ...], at: Position, hosted: Holds) -> Position:
    """Once work lies on the host anyway, another layer of it may cost less than what was given up to keep it on the device.

    Each setting is taken back as far as that lowers the sum of all harms, the host's larger share counted, within TRADED of the
    layers: nobody wants keys and values in 4 bits for the sake of one layer of eighty, and nobody a half of the speed for them.
    """
    moving = [i for i, c in enumerate(choices) if c.setting in OFFLOAD_SETTINGS]
    if len(moving) != 1 or at[moving[0]] == 0:
        return at
    axis = moving[0]
    furthest = at[axis] + max(1, round(TRADED * len(choices[axis].options)))
    for i in sorted(range(len(at)), key=lambda i: choices[i].harms[at[i]], reverse=True):
        if i == axis:
            continue
        for back in range(at[i]):
            tried = (*at[:i], back, *at[i + 1 :])
            moves = [
                (*tried[:axis], n, *tried[axis + 1 :])
                for n in range(at[axis], min(furthest + 1, len(choices[axis].options)))
            ]
            found = _first(moves, hosted)
            if found is not None and harm(choices, found) < harm(choices, at):
                at = found
                break
    return at


def _leaner(choices: tuple[Choice, ...], resident: tuple[Choice, ...], holds: Holds, hosted: Holds) -> Position | None:
    """The least harm in what shrinks both sides, with as little on the host as the device asks for; None: no room there."""
    moving = tuple(c for c in choices if c.setting in OFFLOAD_SETTINGS)
    moves = [_widen(choices, moving, at) for at in least_harm_path(moving)]

    def placed(at: Position) -> Position | None:
        return _first([tuple(map(max, at, move)) for move in moves], holds)

    def both(at: Position) -> bool:
        found = placed(at)
        return found is not None and hosted(found)

    first = _first([_widen(choices, resident, at) for at in least_harm_path(resident)], both)
    return None if first is None else placed(first)


def _widen(choices: tuple[Choice, ...], subset: tuple[Choice, ...], at: Position) -> Position:
    """A position among some of the choices as one among all: the others stay at their least harm."""
    place = {c.setting: i for c, i in zip(subset, at, strict=True)}
    return tuple(place.get(c.setting, 0) for c in choices)


def _first(path: list[Position], holds: Holds) -> Position | None:
    # The two ends first: most questions end at the one that everybody wants, and none is left where the other will not do.
    if holds(path[0]):
        return path[0]
    if not holds(path[-1]):
        return None
    low, high = 1, len(path) - 1
    while low < high:
        middle = (low + high) // 2
        if holds(path[middle]):
            high = middle
        else:
            low = middle + 1
    return path[low]


def _give_back(choices: tuple[Choice, ...], at: Position, holds: Holds) -> Position:
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
    if accepted is None:
        return tuple(refused)
    # What is merely tight was refused as long as something else could be tried.
    return (*refused, msgspec.structs.replace(trail[accepted], outcome="accepted"))


def _why(memory: Memory, room: int) -> str:
    peak = memory.peak_bytes
    if memory.host_usable_bytes is not None and not host_holds(memory) and peak.likely <= room:
        return f"the host would hold {show_size(host_bytes(memory))} of {show_size(memory.host_usable_bytes)}"
    if peak.high <= room:
        return f"{show_size(peak.likely)}, at most {show_size(peak.high)} of {show_size(room)}"
    if peak.likely <= room:
        return f"{show_size(peak.likely)}, but up to {show_size(peak.high)} of {show_size(room)}"
    return f"{show_size(peak.likely)}, {show_size(peak.likely - room)} over"
