"""Events of a traced step through the allocator model: peaks by phase, the timeline, and the point of out of memory.

    replayed = replay(cost.events, capacity=11 * GiB)
    replayed.peak_reserved, replayed.phases, replayed.oom
    breakdown(cost.events, replayed.peak_event)      # who holds the memory at the peak

`Events` hold no addresses and no device: the same trace is replayed for any card of its class, any cap and any
allocator setting, in well under a second.
"""

import functools
from bisect import bisect_right
from itertools import pairwise

from onecard.core.cost import Events
from onecard.core.traced import Breakdown, OomPoint, PhasePeak, Replay
from onecard.predict.allocator import Allocator, OutOfMemory
from onecard.predict.allocator_settings import DEFAULT, AllocatorSettings
from onecard.predict.blocks import Block


@functools.lru_cache(maxsize=64)
def replay(
    events: Events,
    settings: AllocatorSettings = DEFAULT,
    capacity: int | None = None,
    allowed: int | None = None,
    timeline: bool = False,
) -> Replay:
    """Replay from an empty allocator. Stops at the first request that no retry can serve.

    capacity: bytes that the driver can give.  allowed: bytes under a memory fraction (see Allocator).
    """
    allocator = Allocator(settings, capacity=capacity, allowed=allowed)
    malloc, free = allocator.malloc, allocator.free
    order, sizes, streams = events.order, events.sizes, dict(events.streams)
    blocks: list[Block | None] = [None] * len(sizes)
    phases: list[PhasePeak] = []
    oom: OomPoint | None = None
    peak = peak_event = 0
    steps: list[int] = []
    held: list[int] = []
    drops = set(events.cache_drops)
    stops = sorted({0, len(order), *drops, *(at for at, _ in events.marks)})
    names = {}
    for at, name in events.marks:  # two marks at one event: the later one counts
        names[at] = name
    current, first, top, top_reserved = "", 0, 0, 0
    for begin, end in pairwise(stops):
        if begin in names:
            if begin > first:
                phases.append(_phase(current, first, top, top_reserved, allocator))
            current, first, top, top_reserved = names[begin], begin, allocator.allocated, allocator.reserved
        if begin in drops:
            allocator.empty_cache()
        allocator.peak_reserved, reserved_before = allocator.reserved, allocator.peak_reserved
        at = begin
        try:
            for at in range(begin, end):
                number = order[at]
                block = blocks[number]
                if block is not None:
                    free(block)
                else:
                    blocks[number] = malloc(sizes[number], streams.get(number, 0)) if streams else malloc(sizes[number])
                    if allocator.allocated > top:
                        top = allocator.allocated
                        if top > peak:
                            peak, peak_event = top, at
                if timeline:
                    steps.append(allocator.allocated)
                    held.append(allocator.reserved)
        except OutOfMemory as error:
            oom = _oom(events, at, current, error)
        top_reserved = max(top_reserved, allocator.peak_reserved)
        allocator.peak_reserved = max(allocator.peak_reserved, reserved_before)
        if oom is not None:
            break
    phases.append(_phase(current, first, top, top_reserved, allocator))
    return Replay(
        peak_allocated=peak,
        peak_reserved=allocator.peak_reserved,
        peak_requested=allocator.peak_requested,
        peak_event=peak_event,
        phases=tuple(phases),
        retries=allocator.retries,
        segments=allocator.segments_taken,
        oom=oom,
        allocated=tuple(steps),
        reserved=tuple(held),
    )


def _phase(name: str, first: int, top: int, top_reserved: int, allocator: Allocator) -> PhasePeak:
    return PhasePeak(
        name=name,
        first=first,
        allocated=top,
        reserved=top_reserved,
        allocated_after=allocator.allocated,
        reserved_after=allocator.reserved,
    )


def _oom(events: Events, at: int, phase: str, error: OutOfMemory) -> OomPoint:
    category, module, operator = label(events, events.order[at])
    return OomPoint(
        event=at,
        phase=phase,
        category=category,
        module=module,
        operator=operator,
        asked=error.asked,
        allocated=error.allocated,
        reserved=error.reserved,
        limit=error.limit,
    )


def label(events: Events, number: int) -> tuple[str, str, str]:
    """(category, module, operator) of a storage; empty words where the trace kept none."""
    return events.names[events.labels[number]] if events.labels else ("", "", "")


def live(events: Events, at: int) -> list[int]:
    """Numbers of the storages that live right after an event, in order of their birth."""
    born: dict[int, None] = {}
    for number in events.order[: at + 1]:
        if number in born:
            del born[number]
        else:
            born[number] = None
    return list(born)


def breakdown(events: Events, at: int) -> Breakdown:
    """What lives right after an event, summed three ways."""
    tables: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    for number in live(events, at):
        for table, name in zip(tables, label(events, number), strict=True):
            table[name] = table.get(name, 0) + events.sizes[number]
    ordered = [dict(sorted(t.items(), key=lambda item: -item[1])) for t in tables]
    return Breakdown(total=sum(ordered[0].values()), categories=ordered[0], modules=ordered[1], operators=ordered[2])


def phase_at(events: Events, at: int) -> str:
    """The phase in which an event happens."""
    found = bisect_right([index for index, _ in events.marks], at)
    return events.marks[found - 1][1] if found else ""
