"""Blocks and pools: the parts of the allocator model that only keep order, with no rule of their own."""

from bisect import bisect_left, insort


class Block:
    """A stretch of one segment, in use or cached; `before` and `after` are its neighbours in the segment."""

    __slots__ = ("address", "after", "base", "before", "born", "mapped", "pool", "requested", "size", "stream", "used")

    def __init__(self, address: int, size: int, pool: "Pool", stream: int, base: int | None = None) -> None:
        self.address = address
        self.size = size
        self.pool = pool
        self.stream = stream
        self.before: Block | None = None
        self.after: Block | None = None
        self.used = False
        self.mapped = True
        """backed by memory; only parts of an expandable segment are not"""
        self.requested = 0
        self.base = base
        """where its expandable segment starts; None in an ordinary segment"""
        self.born = 0
        """searches of the pool before it was cached; its age for garbage collection"""

    @property
    def whole(self) -> bool:
        """Fills its segment."""
        return self.before is None and self.after is None

    @property
    def reach(self) -> int:
        """Bytes that a free block could have after growing into the unmapped space behind it."""
        after = self.after
        return self.size + (after.size if after is not None and not after.mapped else 0)

    def insert(self, before: "Block | None", after: "Block | None") -> None:
        """Stand between two neighbours."""
        self.before, self.after = before, after
        if before is not None:
            before.after = self
        if after is not None:
            after.before = self


class Pool:
    """Free blocks by stream, each list sorted by (size, address)."""

    __slots__ = ("free", "searches", "small", "unmapped")

    def __init__(self, small: bool) -> None:
        self.small = small
        self.free: dict[int, list[tuple[int, int, Block]]] = {}
        self.unmapped: dict[int, list[tuple[int, Block]]] = {}
        """stretches of expandable segments without memory, sorted by address"""
        self.searches = 0

    def add(self, block: Block) -> None:
        """Cache a free block."""
        block.born = self.searches
        insort(self.free.setdefault(block.stream, []), (block.size, block.address, block))

    def remove(self, block: Block) -> None:
        blocks = self.free[block.stream]
        del blocks[bisect_left(blocks, (block.size, block.address))]

    def add_unmapped(self, block: Block) -> None:
        insort(self.unmapped.setdefault(block.stream, []), (block.address, block))

    def remove_unmapped(self, block: Block) -> None:
        blocks = self.unmapped[block.stream]
        del blocks[bisect_left(blocks, (block.address,))]

    def forget(self, block: Block) -> None:
        """Take a block off its list, mapped or not."""
        if block.mapped:
            self.remove(block)
        else:
            self.remove_unmapped(block)

    def merge(self, block: Block) -> None:
        """Join a block that stands on no list with its free neighbours of the same kind."""
        before, after = block.before, block.after
        if before is not None and not before.used and before.mapped == block.mapped:
            self.forget(before)
            block.address = before.address
            block.size += before.size
            block.before = before.before
            if before.before is not None:
                before.before.after = block
        if after is not None and not after.used and after.mapped == block.mapped:
            self.forget(after)
            block.size += after.size
            block.after = after.after
            if after.after is not None:
                after.after.before = block
