"""A model of ggml's graph allocator: how large the compute buffer of a graph becomes.

llama.cpp reserves one buffer for all intermediate results by laying out its largest graph once: each result takes the
smallest free block that holds it, some operations overwrite an operand that nobody else needs, and what has no reader
left is freed. The buffer is the highest address ever used. So its size follows from the graph alone, and this file plays it:
`Graph` collects nodes in the order in which ggml would compute them, `peak` lays them out.

The rules are those of ggml_gallocr_alloc_graph_impl and ggml_dyn_tallocr in ggml/src/ggml-alloc.c at llama.cpp 0450e2f:
inputs are allocated before everything else, the best fitting free block wins and only then the open end, freed neighbours
merge, views keep their origin alive, and an operand (never a view) is overwritten only by a result of the same layout.
"""

_END = 1 << 62


class Graph:
    """Nodes in order of computation. A node is an index; None stands for weights and caches, which live elsewhere."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.size: list[int] = []
        self.origin: list[int] = []
        """the node that a view looks at, -1 for a node of its own"""
        self.sources: list[tuple[int, ...]] = []
        self.overwrites: list[bool] = []
        self.inputs: list[int] = []
        self.order: list[int] = []

    def _new(self, size: int, sources: tuple[int | None, ...], overwrites: bool, origin: int) -> int:
        self.size.append(-(-size // self.alignment) * self.alignment)
        self.sources.append(tuple([s for s in sources if s is not None]))
        self.overwrites.append(overwrites)
        self.origin.append(origin)
        return len(self.size) - 1

    def input(self, size: int) -> int:
        """A tensor that is filled before the graph runs."""
        node = self._new(size, (), False, -1)
        self.inputs.append(node)
        return node

    def node(self, size: int, *sources: int | None) -> int:
        """A result of its own: matrix products, gathers, copies, fused attention, gated activations."""
        node = self._new(size, sources, False, -1)
        self.order.append(node)
        return node

    def inplace(self, size: int, *sources: int | None) -> int:
        """A result that may overwrite an operand: sums, products, norms, rotary embedding, softmax, activations."""
        node = self._new(size, sources, True, -1)
        self.order.append(node)
        return node

    def view(self, of: int, *sources: int | None) -> int:
        """The same bytes under another shape (reshape, permute), or a write into them (set_rows, cpy)."""
        root = self.origin[of] if self.origin[of] >= 0 else of
        node = self._new(self.size[of], sources or (of,), False, root)
        self.order.append(node)
        return node

    def store(self, *sources: int | None) -> int:
        """A write into memory of its own, a cache: no bytes here, but its operands live until then."""
        node = self._new(0, sources, False, -2)
        self.order.append(node)
        return node

    def peak(self) -> int:
        """Bytes of the buffer."""
        size, origin, sources = self.size, self.origin, self.sources
        children, views = [0] * len(size), [0] * len(size)
        for node in self.order:
            if origin[node] >= 0:
                views[origin[node]] += 1
            for source in sources[node]:
                children[source] += 1
        heap = _Heap()
        address = [-1] * len(size)
        for node in self.inputs:
            address[node] = heap.take(size[node])
        for node in self.order:
            if origin[node] == -1:
                address[node] = self._place(node, heap, address, children, views)
            for source in sources[node]:
                left = children[source] = children[source] - 1
                if left or views[source]:
                    continue
                root = origin[source]
                if root >= 0:
                    views[root] -= 1
                    if not views[root] and not children[root] and address[root] >= 0:
                        heap.give(address[root], size[root])
                        address[root] = -1
                elif address[source] >= 0:
                    heap.give(address[source], size[source])
                    address[source] = -1
        return heap.top

    def _place(self, node: int, heap: "_Heap", address: list[int], children: list[int], views: list[int]) -> int:
        size = self.size[node]
        if self.overwrites[node]:
            for source in self.sources[node]:
                # Never through a view: a view is not "allocated", so ggml_gallocr_is_own says no.
                alone = children[source] == 1 and not views[source] and self.origin[source] == -1
                if alone and self.size[source] == size and address[source] >= 0:
                    found, address[source] = address[source], -1
                    return found
        return heap.take(size)


class _Heap:
    """Free blocks by address; the last one has no end."""

    def __init__(self) -> None:
        self.at = [0]
        self.room = [_END]
        self.top = 0

    def take(self, size: int) -> int:
        if not size:
            return -1
        at, room = self.at, self.room
        best, least = len(at) - 1, _END + 1
        for i in range(best):
            if size <= room[i] <= least:
                best, least = i, room[i]
        found = at[best]
        at[best] += size
        room[best] -= size
        if not room[best]:
            del at[best], room[best]
        if found + size > self.top:
            self.top = found + size
        return found

    def give(self, start: int, size: int) -> None:
        at, room = self.at, self.room
        index = 0
        while index < len(at) and at[index] < start:
            index += 1
        after = index < len(at) and start + size == at[index]
        before = index > 0 and at[index - 1] + room[index - 1] == start
        if before and after:
            room[index - 1] += size + room[index]
            del at[index], room[index]
        elif before:
            room[index - 1] += size
        elif after:
            at[index] = start
            room[index] += size
        else:
            at.insert(index, start)
            room.insert(index, size)
