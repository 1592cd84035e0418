"""Recordings of a real CUDA caching allocator, replayed through the model: does it place every block where PyTorch did?

A recording is what `torch.cuda.memory._snapshot()` holds, without its stack traces, as gzipped JSON: `events` in order,
[action, bytes, address, stream], and `segments_at_end`. It starts in the middle of a process's life, so the events are
first rolled back from the end to find the segments and live blocks at its start. Then the requests are replayed. Only
the addresses of new segments are taken from the recording (the driver's choice); what is compared is the model's:
which block each request gets, when a segment is taken, and how large it is.
"""

import gzip
from collections import deque
from pathlib import Path

import msgspec

from onecard.core.errors import BadFile
from onecard.predict.allocator import GRAIN, SMALL, SMALL_SEGMENT, Allocator
from onecard.predict.allocator_settings import DEFAULT, AllocatorSettings
from onecard.predict.blocks import Block


class Segment(msgspec.Struct, frozen=True):
    """A segment at the end of the recording; blocks are [state, bytes, bytes requested] from its start on."""

    address: int
    total_size: int
    stream: int
    blocks: list[tuple[str, int, int]]


class Recording(msgspec.Struct, frozen=True):
    """Allocator events of one device of one process."""

    events: list[tuple[str, int, int, int]]
    segments_at_end: list[Segment]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """How the model did on one recording. Bytes."""

    allocations: int
    same_address: int
    segments: int
    """that the process took while it was recorded"""
    same_segments: int
    """of these, taken by the model for the same request and with the same size"""
    extra_segments: int
    """taken by the model where the process took none"""
    peak_reserved: int
    """of the model"""
    recorded_peak_reserved: int
    start_allocated: int
    start_reserved: int
    peak_allocated: int

    @property
    def exact(self) -> bool:
        """Every address, every segment, and the peak."""
        return (
            self.same_address == self.allocations
            and self.same_segments == self.segments
            and self.extra_segments == 0
            and self.peak_reserved == self.recorded_peak_reserved
        )


def read(path: Path) -> Recording:
    """The recording in a .json or .json.gz file. Raises BadFile."""
    try:
        data = path.read_bytes()
        return msgspec.json.decode(gzip.decompress(data) if path.suffix == ".gz" else data, type=Recording)
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise BadFile(f"{path} is not a recording of the allocator", why=str(error)) from None


def peaks(recording: Recording) -> tuple[int, int, int]:
    """(bytes requested at the start, their peak, their end) by the requests alone, without any model."""
    live: dict[int, int] = {}
    now = 0
    for segment in recording.segments_at_end:
        now += sum(requested for state, _, requested in segment.blocks if state.startswith("active"))
    end = peak = now
    for action, size, address, _ in reversed(recording.events):
        if action == "alloc":
            now -= size
            live.pop(address, None)
        elif action == "free_completed":
            now += size
        peak = max(peak, now)
    return now, peak, end


def replay(recording: Recording, settings: AllocatorSettings | None = None) -> Replayed:
    """Run the recorded requests through the model and compare."""
    if settings is None:
        mapped = any(action == "segment_map" for action, *_ in recording.events)
        settings = AllocatorSettings(expandable_segments=True) if mapped else DEFAULT
    given: deque[tuple[int, int]] = deque()

    def place(size: int) -> int:
        return given[0][0] if given else 1 << 60  # an address that no recording has

    allocator = Allocator(settings, place=place)
    blocks = _start(recording, allocator)
    allocator.log = []
    start_allocated, start_reserved = allocator.allocated, allocator.reserved
    allocations = same = segments = same_segments = extra = 0
    reserved = peak = start_reserved
    for action, size, address, stream in recording.events:
        if action in ("segment_alloc", "segment_map"):
            given.append((address, size))
            segments += 1
            reserved += size
            peak = max(peak, reserved)
        elif action in ("segment_free", "segment_unmap"):
            reserved -= size
            _give_back(allocator, address)
        elif action == "alloc":
            block = allocator.malloc(size, stream)
            allocations += 1
            same += block.address == address
            blocks[address] = block
            for taken, where, bytes_taken in allocator.log:
                if taken in ("segment_alloc", "segment_map"):
                    extra += not given
                    same_segments += bool(given) and given.popleft() == (where, bytes_taken)
            allocator.log.clear()
        elif action == "free_completed" and address in blocks:
            allocator.free(blocks.pop(address))
    return Replayed(
        allocations=allocations,
        same_address=same,
        segments=segments,
        same_segments=same_segments,
        extra_segments=extra,
        peak_reserved=allocator.peak_reserved,
        recorded_peak_reserved=peak,
        start_allocated=start_allocated,
        start_reserved=start_reserved,
        peak_allocated=allocator.peak_allocated,
    )


def _start(recording: Recording, allocator: Allocator) -> dict[int, Block]:
    """Put the allocator into the state before the first event; returns its live blocks by address."""
    segments = {s.address: (s.total_size, s.stream) for s in recording.segments_at_end}
    live: dict[int, tuple[int | None, int]] = {}  # address -> (block size where known, requested)
    for segment in recording.segments_at_end:
        address = segment.address
        for state, size, requested in segment.blocks:
            if state.startswith("active"):
                live[address] = (size, requested)
            address += size
    for action, size, address, stream in reversed(recording.events):
        if action == "alloc":
            live.pop(address, None)
        elif action == "free_completed":
            live[address] = (None, size)
        elif action == "segment_alloc":
            segments.pop(address, None)
        elif action == "segment_free":
            segments[address] = (size, stream)
    result: dict[int, Block] = {}
    addresses = deque(sorted(live.items()))
    for start, (total, stream) in sorted(segments.items()):
        inside: list[tuple[int, int | None, int]] = []
        while addresses and addresses[0][0] < start + total:
            address, (known, requested) = addresses.popleft()
            if address >= start:
                inside.append((address, known, requested))
        result |= _fill(allocator, start, total, stream, inside)
    allocator.peak_allocated, allocator.peak_reserved = allocator.allocated, allocator.reserved
    allocator.peak_requested = allocator.requested
    return result


def _fill(
    allocator: Allocator, start: int, total: int, stream: int, live: list[tuple[int, int | None, int]]
) -> dict[int, Block]:
    """One segment as it was: live blocks, and free ones between them."""
    pool = allocator.small if total == SMALL_SEGMENT else allocator.large
    allocator.reserved += total
    result: dict[int, Block] = {}
    at, last = start, None

    def put(size: int) -> Block:
        nonlocal at, last
        block = Block(at, size, pool, stream)
        block.insert(last, None)
        at, last = at + size, block
        return block

    for n, (address, known, requested) in enumerate(live):
        if address > at:
            pool.add(put(address - at))
        end = live[n + 1][0] if n + 1 < len(live) else start + total
        # A block that was freed later does not tell its size: it is what was asked, rounded, and what was not worth
        # splitting off behind it.
        size = known or allocator.round(requested)
        rest = end - address - size
        if known is None and rest < (GRAIN if pool.small else SMALL + 1):
            size = end - address
        block = result[address] = put(size)
        block.used, block.requested = True, requested
        allocator.allocated += size
        allocator.requested += requested
    if at < start + total:
        pool.add(put(start + total - at))
    return result


def _give_back(allocator: Allocator, address: int) -> None:
    """The process returned a segment (empty_cache): so does the model, if that segment is free there too."""
    for pool in (allocator.large, allocator.small):
        for blocks in pool.free.values():
            for _, _, block in blocks:
                if block.address == address and block.whole and block.base is None:
                    allocator.release(block)
                    return
                if block.base is not None and block.address <= address < block.address + block.size:
                    allocator.empty_cache()  # pages go back when the cache is emptied, all free ones at once
                    return
