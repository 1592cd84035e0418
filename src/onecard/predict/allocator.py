"""A model of the CUDA caching allocator of PyTorch: which block a request gets, and what the process reserves for it.

The allocator takes segments from the driver, cuts them into blocks, and keeps freed blocks for later requests of the
same stream. The peak that a card must hold is what is *reserved*, and that depends on the whole history of sizes; so it
is not estimated but replayed. In short:

- a request is rounded up to 512 bytes; up to 1 MiB it comes from the small pool, else from the large pool;
- the smallest free block that is large enough is taken, the lowest address among equals, and its tail is split off where
  the rest is worth keeping (512 bytes in the small pool, more than 1 MiB in the large one);
- without such a block a segment is taken: 2 MiB for small requests, 20 MiB up to 10 MiB, else a multiple of 2 MiB;
- a freed block merges with its free neighbours of the same segment;
- where the driver refuses, cached blocks that fill a whole segment go back to it, and the request is tried again;
  if that fails too, it is out of memory.

With expandable segments there is one address range a stream and pool that grows by pages of 2 or 20 MiB; see
`_grow`. Behaviour as in PyTorch's c10/cuda/CUDACachingAllocator.cpp (2.6 to 2.13). Recordings of real processes are
replayed in the tests: every address and every segment must be the recorded one.
"""

from bisect import bisect_left
from collections.abc import Callable

from onecard.core.units import MiB
from onecard.predict.allocator_settings import DEFAULT, INTERVALS, UNLIMITED, AllocatorSettings
from onecard.predict.blocks import Block, Pool

GRAIN = 512
SMALL = 1 * MiB
SMALL_SEGMENT = 2 * MiB
OWN_SEGMENT = 10 * MiB
"""from here on a request gets a segment of its own"""
SEGMENT_GRAIN = 2 * MiB

_RANGE = 1 << 44
"""address space kept for one expandable segment: more than any card, so that it is never the limit"""


class OutOfMemory(Exception):
    """The model's answer where PyTorch raises torch.OutOfMemoryError; the allocator stays usable, as it does there."""

    def __init__(self, asked: int, segment: int, allocated: int, reserved: int, limit: int) -> None:
        super().__init__(f"asked for {asked} bytes; {allocated} allocated, {reserved} reserved of {limit}")
        self.asked = asked
        self.segment = segment
        """what had to be taken from the driver for it"""
        self.allocated = allocated
        self.reserved = reserved
        self.limit = limit


def falling_addresses() -> Callable[[int], int]:
    """Where new segments lie if nobody says otherwise: each below the last one, at a grain of 32 MiB (2 MiB for small
    ones), as the driver mostly does in the recordings. Addresses only decide between free blocks of equal size."""
    low = 1 << 60

    def place(size: int) -> int:
        nonlocal low
        grain = 32 * MiB if size > SMALL_SEGMENT else SMALL_SEGMENT
        low = (low - size) // grain * grain
        return low

    return place


class Allocator:
    """The allocator of one process on one device.

    capacity: bytes that the driver can give to segments (the card less context and other processes); None: no limit.
    allowed: bytes under `torch.cuda.set_per_process_memory_fraction`; unlike the capacity it is compared with the size
        of a whole segment before anything is taken, also for expandable segments.
    place: address of a new segment of a given size.
    """

    def __init__(
        self,
        settings: AllocatorSettings = DEFAULT,
        *,
        capacity: int | None = None,
        allowed: int | None = None,
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.settings = settings
        self.capacity = capacity
        self.allowed = allowed
        self.place = place or falling_addresses()
        self.small = Pool(True)
        self.large = Pool(False)
        self.allocated = self.reserved = self.requested = 0
        self.peak_allocated = self.peak_reserved = self.peak_requested = 0
        self.retries = 0
        self.segments_taken = 0
        self.segments_returned = 0
        self.log: list[tuple[str, int, int]] | None = None
        """(action, address, bytes) of every segment or page taken and returned, in PyTorch's words, where it is a list"""
        self._divisions = any(d > 1 for d in settings.roundup_power2_divisions)
        self._ages = allowed is not None and settings.garbage_collection_threshold > 0

    def round(self, size: int) -> int:
        """Bytes of a block for a request: a multiple of 512, or the next division between powers of two."""
        if size < GRAIN:
            return GRAIN
        if self._divisions:
            interval = min(max(size.bit_length() - 1 - 20, 0), INTERVALS - 1)
            divisions = self.settings.roundup_power2_divisions[interval]
            if divisions > 1 and size > GRAIN * divisions:
                floor = 1 << (size.bit_length() - 1)
                step = floor // divisions
                return size if size == floor else -(-size // step) * step
        return -(-size // GRAIN) * GRAIN

    def segment_size(self, size: int) -> int:
        """Bytes of a new segment for a rounded request."""
        if size <= SMALL:
            return SMALL_SEGMENT
        if size < OWN_SEGMENT:
            return self.settings.large_segment
        return -(-size // SEGMENT_GRAIN) * SEGMENT_GRAIN

    def malloc(self, requested: int, stream: int = 0) -> Block:
        """The block for a request of so many bytes. Raises OutOfMemory."""
        size = self.round(requested)
        pool = self.small if size <= SMALL else self.large
        block = self._find(pool, size, stream) or self._new(pool, size, stream)
        rest = block.size - size
        packs = pool.small or self.settings.expandable_segments
        split = rest >= GRAIN if packs else rest > SMALL and size < self.settings.max_split_size
        if split:
            tail = Block(block.address + size, rest, pool, stream, block.base)
            tail.insert(block, block.after)
            block.size = size
            pool.add(tail)
        block.used = True
        block.requested = requested
        self.allocated += block.size
        self.requested += requested
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
        if self.requested > self.peak_requested:
            self.peak_requested = self.requested
        return block

    def free(self, block: Block) -> None:
        """Back to the pool; merges with free neighbours."""
        block.used = False
        self.allocated -= block.size
        self.requested -= block.requested
        block.pool.merge(block)
        block.pool.add(block)

    def empty_cache(self) -> None:
        """torch.cuda.empty_cache(): cached blocks that fill a segment go back to the driver, and whole free pages of
        expandable segments."""
        for pool in (self.large, self.small):
            for blocks in list(pool.free.values()):
                for _, _, block in list(blocks):
                    if block.base is not None:
                        self._unmap(block)
                    elif block.whole:
                        self.release(block)

    # ------------------------------------------------------------------ cached blocks

    def _find(self, pool: Pool, size: int, stream: int) -> Block | None:
        """Best fit: the smallest, then the lowest."""
        if self._ages:
            pool.searches += 1
        blocks = pool.free.get(stream)
        if not blocks:
            return None
        at = bisect_left(blocks, (size,))
        if at == len(blocks):
            return None
        settings = self.settings
        block = blocks[at][2]
        if settings.expandable_segments:
            # A block before unmapped space can grow: it counts as large as it can become, so that the open end of
            # the segment is taken last.
            while at + 1 < len(blocks) and blocks[at + 1][2].reach < block.reach:
                at += 1
                block = blocks[at][2]
        if settings.max_split_size < UNLIMITED:
            if size < settings.max_split_size <= block.size:
                return None
            if size >= settings.max_split_size and block.size >= size + settings.max_non_split_rounding:
                return None
        del blocks[at]
        return block

    # ------------------------------------------------------------------ segments

    def _new(self, pool: Pool, size: int, stream: int) -> Block:
        """A block from the driver, if need be after returning cached ones."""
        segment = self.segment_size(size)
        if self._ages:
            self._collect()
        block = self._take(pool, size, segment, stream)
        if block is None and self._release_oversize(pool, size, stream):
            block = self._take(pool, size, segment, stream)
        if block is None:
            self.empty_cache()
            self.retries += 1
            block = self._take(pool, size, segment, stream)
        if block is None:
            limits = [limit for limit in (self.allowed, self.capacity) if limit is not None]
            raise OutOfMemory(size, segment, self.allocated, self.reserved, min(limits))
        return block

    def _take(self, pool: Pool, size: int, segment: int, stream: int) -> Block | None:
        if self.allowed is not None and self.reserved + segment > self.allowed:
            return None
        if self.settings.expandable_segments:
            return self._grow(pool, size, stream)
        if self.capacity is not None and self.reserved + segment > self.capacity:
            return None
        block = Block(self.place(segment), segment, pool, stream)
        self._reserve("segment_alloc", block.address, segment)
        return block

    def _reserve(self, action: str, address: int, size: int) -> None:
        self.segments_taken += 1
        self.reserved += size
        if self.reserved > self.peak_reserved:
            self.peak_reserved = self.reserved
        if self.log is not None:
            self.log.append((action, address, size))

    def _return(self, action: str, block: Block) -> None:
        self.segments_returned += 1
        self.reserved -= block.size
        if self.log is not None:
            self.log.append((action, block.address, block.size))

    def release(self, block: Block) -> None:
        """cudaFree of a cached block that fills its segment."""
        block.pool.remove(block)
        self._return("segment_free", block)

    def _release_oversize(self, pool: Pool, size: int, stream: int) -> bool:
        """Under max_split_size: first return just enough unsplittable blocks for this request."""
        limit = self.settings.max_split_size
        if limit >= UNLIMITED or self.settings.expandable_segments:
            return False
        wanted = max(size, limit)
        blocks = pool.free.get(stream, [])
        at = bisect_left(blocks, (wanted,))
        if at < len(blocks):
            self.release(blocks[at][2])
            return True
        released = 0
        while blocks and released < wanted and blocks[-1][0] >= limit:
            released += blocks[-1][0]
            self.release(blocks[-1][2])
        return released >= wanted

    def _collect(self) -> None:
        """Garbage collection: above the threshold, cached whole segments of at least average age go back, oldest
        average first, until enough is free. Age is the number of searches in the large pool since it was cached."""
        threshold = int(self.settings.garbage_collection_threshold * (self.allowed or 0))
        target = self.reserved - threshold
        if target <= 0:
            return
        pool = self.large
        idle = [b for blocks in pool.free.values() for _, _, b in blocks if b.whole and b.base is None]
        ages = sum(pool.searches - b.born for b in idle)
        reclaimed = 0
        while idle and reclaimed < target:
            average = ages / len(idle)
            old = [b for b in idle if pool.searches - b.born >= average]
            if not old:
                return
            for block in old:
                reclaimed += block.size
                ages -= pool.searches - block.born
                self.release(block)
            idle = [b for b in idle if b not in old]

    # ------------------------------------------------------------------ expandable segments

    def _grow(self, pool: Pool, size: int, stream: int) -> Block | None:
        """Memory for the lowest stretch of free and unmapped space that can hold the request."""
        block = self._stretch(pool, size, stream)
        if not block.mapped and not self._map(block, min(block.size, size)):
            return None
        while block.size < size:
            # free -> unmapped -> ...: map the neighbour, which merges with what lies before it
            neighbour = block.after
            assert neighbour is not None and not neighbour.mapped
            if not self._map(neighbour, min(size - block.size, neighbour.size)):
                return None
            block = neighbour
        pool.remove(block)
        return block

    def _stretch(self, pool: Pool, size: int, stream: int) -> Block:
        for _, block in pool.unmapped.get(stream, ()):
            start = block
            if start.before is not None and not start.before.used:
                start = start.before
            room, link = 0, start
            while room < size and not link.used:
                room += link.size
                if link.after is None:
                    break
                link = link.after
            if room >= size:
                return start
        base = self.place(_RANGE)
        block = Block(base, _RANGE, pool, stream, base)
        block.mapped = False
        pool.add_unmapped(block)
        return block

    def _map(self, block: Block, size: int) -> bool:
        """Back the start of an unmapped stretch with whole pages."""
        page = SMALL_SEGMENT if block.pool.small else self.settings.large_segment
        size = min(-(-size // page) * page, block.size)
        if self.capacity is not None and self.reserved + size > self.capacity:
            return False
        self._reserve("segment_map", block.address, size)
        pool = block.pool
        pool.remove_unmapped(block)
        if size < block.size:
            rest = Block(block.address + size, block.size - size, pool, block.stream, block.base)
            rest.mapped = False
            rest.insert(block, block.after)
            pool.add_unmapped(rest)
            block.size = size
        block.mapped = True
        pool.merge(block)
        pool.add(block)
        return True

    def _unmap(self, block: Block) -> None:
        """Return the whole pages inside a free stretch."""
        pool = block.pool
        page = SMALL_SEGMENT if pool.small else self.settings.large_segment
        start, base = block.address, block.base
        assert base is not None
        offset = start - base
        first = -(-offset // page) * page
        last = (offset + block.size) // page * page
        if first >= last:
            return
        pool.remove(block)
        head, tail = first - offset, offset + block.size - last
        if head:
            piece = Block(start, head, pool, block.stream, base)
            piece.insert(block.before, block)
            pool.add(piece)
        if tail:
            piece = Block(base + last, tail, pool, block.stream, base)
            piece.insert(block, block.after)
            pool.add(piece)
        block.address, block.size, block.mapped = base + first, last - first, False
        self._return("segment_unmap", block)
        pool.merge(block)
        pool.add_unmapped(block)
