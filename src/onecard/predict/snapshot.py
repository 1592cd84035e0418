"""A replayed trace in the form of PyTorch's memory snapshots, for https://docs.pytorch.org/memory_viz.

The value is what `torch.cuda.memory._snapshot()` returns: segments with their blocks as they are at the end, and the
events of one device in order. In the place of stack frames stand the phase, the module and the operator of the storage;
the clock counts events, since a trace has no time.
"""

from typing import Any

from onecard.core.cost import Events
from onecard.predict.allocator import Allocator, OutOfMemory
from onecard.predict.allocator_settings import DEFAULT, AllocatorSettings
from onecard.predict.blocks import Block
from onecard.predict.replay import label

Snapshot = dict[str, Any]


def snapshot(events: Events, settings: AllocatorSettings = DEFAULT, capacity: int | None = None) -> Snapshot:
    """Plain lists and dicts, ready to be pickled; ends at an out of memory if a capacity is given and does not do."""
    allocator = Allocator(settings, capacity=capacity)
    log = allocator.log = []
    drops = set(events.cache_drops)
    streams = dict(events.streams)
    blocks: dict[int, Block] = {}
    trace: list[dict[str, Any]] = []
    marks = dict(events.marks)
    phase = ""
    frames: dict[tuple[str, int], list[dict[str, Any]]] = {}

    def add(action: str, address: int, size: int, number: int, at: int) -> None:
        kind = (phase, events.labels[number] if events.labels else 0)
        if kind not in frames:
            frames[kind] = _frames(phase, *label(events, number))
        trace.append(
            {
                "action": action, "addr": address, "size": size, "stream": streams.get(number, 0),
                "time_us": at, "frames": frames[kind],
            }
        )  # fmt: skip

    def flush(number: int, at: int) -> None:
        for action, address, size in log:
            add(action, address, size, number, at)
        log.clear()

    for at, number in enumerate(events.order):
        phase = marks.get(at, phase)
        if at in drops:
            allocator.empty_cache()
            flush(number, at)
        if number in blocks:
            block = blocks.pop(number)
            add("free_requested", block.address, block.requested, number, at)
            add("free_completed", block.address, block.requested, number, at)
            allocator.free(block)
            continue
        try:
            block = allocator.malloc(events.sizes[number], streams.get(number, 0))
        except OutOfMemory as error:
            add("oom", 0, error.asked, number, at)
            break
        flush(number, at)
        blocks[number] = block
        add("alloc", block.address, block.requested, number, at)
    return {"segments": _segments(allocator, blocks, events), "device_traces": [trace], "allocator_settings": {}}


def _frames(phase: str, category: str, module: str, operator: str) -> list[dict[str, Any]]:
    """Innermost first, as in PyTorch's snapshots; empty parts are left out."""
    names = [operator, module, category, phase]
    return [{"name": n, "filename": "trace", "line": 0} for n in names if n]


def _segments(allocator: Allocator, used: dict[int, Block], events: Events) -> list[dict[str, Any]]:
    """Segments at the end: every block that is backed by memory, walked from the first of its segment."""
    owner = {block.address: number for number, block in used.items()}
    starts: dict[int, Block] = {}
    known = [*used.values()]
    for pool in (allocator.small, allocator.large):
        known += [block for blocks in pool.free.values() for _, _, block in blocks]
    for some in known:
        first = some
        while first.before is not None and first.before.mapped:
            first = first.before
        starts[first.address] = first
    result = []
    block: Block | None
    for address, first in sorted(starts.items()):
        blocks: list[dict[str, Any]] = []
        total = 0
        block = first
        while block is not None and block.mapped:
            state = "active_allocated" if block.used else "inactive"
            entry: dict[str, Any] = {
                "address": block.address,
                "size": block.size,
                "requested_size": block.requested,
                "state": state,
            }
            if block.used:
                number = owner[block.address]
                entry["frames"] = _frames("", *label(events, number))
            blocks.append(entry)
            total += block.size
            block = block.after
        kind = "small" if first.pool.small else "large"
        result.append(
            {
                "address": address, "total_size": total, "stream": first.stream, "segment_type": kind, "device": 0,
                "allocated_size": sum(b["size"] for b in blocks if b["state"] == "active_allocated"),
                "active_size": sum(b["size"] for b in blocks if b["state"] == "active_allocated"),
                "is_expandable": first.base is not None, "blocks": blocks,
            }
        )  # fmt: skip
    return result
