"""The graph that llama.cpp computes for one micro-batch, as sizes and lifetimes: what its compute buffer is reserved for.

Every intermediate is fp32. On a card the embedding is looked up on the host, so its rows, the positions and the mask are
copied in and live until their last reader. Which scores exist depends on flash attention (none, and an fp16 mask) or not
(micro-batch x context x heads), and how many rows of logits on the build. Order and operands follow llm_graph_context
(src/llama-graph.cpp) and src/models/*.cpp; the layout itself is played by parts/ggml_graph.py.
"""

from typing import NamedTuple

from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Model
from onecard.parts.ggml_graph import Graph
from onecard.parts.kv_cache import llama_cells
from onecard.parts.memo import per_model
from onecard.parts.transformer import is_moe_layer

F32 = 4


class Batch(NamedTuple):
    """What the reserved micro-batch looks like."""

    tokens: int
    """of one micro-batch, all sequences together"""
    context: int
    sequences: int = 1
    flash: bool = True
    logits: int = 1
    """rows of logits: one a sequence in current builds, one a token before"""
    on_card: bool = True
    """embeddings come from the host"""
    selects: bool = False
    """current builds keep a second branch for embeddings given as vectors"""
    half_mask: bool = True
    """the mask is made in fp16 under flash attention (else made in fp32 and converted)"""
    windows: bool = True
    """sliding-window layers have caches and masks of their own"""
    stores_rows: bool = True
    """caches are written by row index (set_rows); fused gating, values before keys"""
    gathers: bool = True
    """the last layer goes on with the rows that have outputs only"""
    query_last: bool = False
    """builds of 2023 computed keys and values, wrote them, and only then the queries"""


@per_model
def compute_bytes(model: Model, batch: Batch) -> int:
    """Bytes of the compute buffer."""
    return _Build(model, batch).run()


def _sampled(model: Model) -> list[int]:
    """Layers that stand for all: the first of each sort, the first again, and the last, which gathers its outputs.

    From one layer to the next only one hidden state lives on, so more of the same lays out the same way.
    """
    last = model.layers - 1
    sorts: dict[tuple[str, bool], int] = {}
    for layer in range(last):
        sorts.setdefault((model.kind_of(layer), is_moe_layer(model, layer)), layer)
    chosen = [*sorts.values()]
    return [*chosen, *chosen[:1], last]


class _Build:
    def __init__(self, model: Model, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.graph = Graph(128 if batch.on_card else 64)
        self.tokens = batch.tokens

    def run(self) -> int:
        model, batch, graph = self.model, self.batch, self.graph
        tokens = self.tokens
        # Copies to a card are made when its part of the graph starts; on the CPU they are inputs of the whole graph.
        feed = graph.node if batch.on_card else graph.input
        if batch.on_card:
            x = feed(self._wide())
        else:
            ids = feed(tokens * 4)
            other = [feed(size) for size in (tokens * 4, self._wide(), tokens * 8)] if batch.selects else []
            if batch.selects:
                feed(self._wide())
        self.positions = feed(tokens * 4)
        value = 1 if batch.flash else max(1, model.kv_heads * model.head_dim)
        self.rows = (feed(tokens * 8), feed(tokens * 8 * value)) if batch.stores_rows else (None, None)
        self.masks = {kind: self._mask(feed, kind) for kind in self._kinds()}
        chosen = feed(batch.logits * 4)
        if not batch.on_card:
            x = graph.node(self._wide(), ids)
            if batch.selects:
                self._other_branch(other)
        sampled = _sampled(model)
        for place, layer in enumerate(sampled, 1):
            x = self._layer(layer, x, chosen if place == len(sampled) else None)
        x = graph.inplace(self._wide(), self._norm(x))
        graph.node(model.vocab * self.tokens * F32, x)
        return graph.peak()

    def _wide(self, width: int | None = None) -> int:
        return (width or self.model.hidden) * self.tokens * F32

    def _kinds(self) -> list[str]:
        if not self.batch.windows or not self.model.window:
            return [FULL]
        return [k for k in (FULL, SLIDING) if self.model.count_kind(k)] or [FULL]

    def _cells(self, kind: str) -> int:
        batch = self.batch
        return llama_cells(self.model, kind if batch.windows else FULL, batch.context, batch.sequences, batch.tokens)

    def _mask(self, feed: "object", kind: str) -> int:
        batch, graph = self.batch, self.graph
        size = self._cells(kind) * batch.tokens
        make = graph.node if batch.on_card else graph.input
        if batch.flash and batch.half_mask:
            return make(size * 2)
        full = make(size * F32)
        return graph.node(size * 2, full) if batch.flash else full

    def _other_branch(self, inputs: list[int]) -> None:
        """Rows of given embeddings scattered among looked-up ones; not used for text, but laid out, and its result stays.

        The looked-up rows that the layers start from stay too: read off llama.cpp b11549 on the CPU, where the buffer is one
        hidden state larger than these lifetimes alone make it, at every shape tried.
        """
        ids, rows, slots = inputs
        graph = self.graph
        looked = graph.node(self._wide(), ids)
        given = graph.node(self._wide(), rows)
        graph.view(given, looked, slots, given)

    def _norm(self, x: int) -> int:
        # ggml overwrites the operand of an RMS norm, but not of a layer norm (ggml_op_can_inplace).
        make = self.graph.node if self.model.norm == "layer" else self.graph.inplace
        return make(self.graph.size[x], x)

    def _normed(self, x: int) -> int:
        normed = self._norm(x)
        return self.graph.inplace(self.graph.size[normed], normed)

    def _layer(self, layer: int, x: int, chosen: int | None) -> int:
        model, graph = self.model, self.graph
        kind = model.kind_of(layer)
        four = model.norms_per_layer >= 4
        before = model.family not in ("olmo2", "olmo3")
        normed = self._normed(x) if before and model.norms_per_layer else x
        if kind in (LINEAR, MAMBA):
            out = self._recurrent(normed)
        elif model.latent:
            out = self._latent(normed, kind)
        else:
            out = self._attention(normed, kind)
        if four or not before:
            out = self._normed(out)
        if chosen is not None:
            self.tokens = self.batch.logits if self.batch.gathers else self.batch.tokens
            if self.batch.gathers:
                out = graph.node(self._wide(), out, chosen)
                x = graph.node(self._wide(), x, chosen)
                if model.parallel:
                    normed = graph.node(self._wide(), normed, chosen)
        if model.parallel:
            inner = normed if model.norms_per_layer < 2 else self._normed(x)
            ffn = self._ffn(inner, layer)
            return graph.inplace(self._wide(), graph.inplace(self._wide(), ffn, out), x)
        middle = graph.inplace(self._wide(), out, x)
        inner = self._normed(middle) if before and model.norms_per_layer else middle
        ffn = self._ffn(inner, layer)
        if four or not before:
            ffn = self._normed(ffn)
        return graph.inplace(self._wide(), ffn, middle)

    def _project(self, x: int, width: int, norm: bool = False, rotary: bool = True) -> int:
        graph = self.graph
        size = self._wide(width)
        y = graph.node(size, x)
        if self.model.qkv_bias:
            y = graph.inplace(size, y)
        y = graph.view(y)
        if norm:
            y = self._normed(y)
        return graph.inplace(size, y, self.positions) if rotary else y

    def _attention(self, x: int, kind: str) -> int:
        model, graph = self.model, self.graph
        q_width, kv_width = model.heads * model.head_dim, model.kv_heads * model.head_dim
        rotary = not model.positions
        gate = None
        if model.fused_qkv:
            both = graph.node(self._wide(q_width + 2 * kv_width), x)
            q, k, v = graph.view(both), graph.view(both), graph.view(both)
            if rotary:
                q = graph.node(self._wide(q_width), q, self.positions)
                k = graph.node(self._wide(kv_width), k, self.positions)
        elif model.gated_attention:
            wide = graph.node(self._wide(2 * q_width), x)
            gate = graph.node(self._wide(q_width), graph.view(wide))
            q = graph.inplace(self._wide(q_width), graph.node(self._wide(q_width), graph.view(wide)), self.positions)
            k = self._project(x, kv_width, bool(model.qk_norm), rotary)
            v = self._project(x, kv_width, rotary=False)
        else:
            norm = bool(model.qk_norm)
            if self.batch.query_last:
                graph.store(graph.view(self._project(x, kv_width, norm, rotary)))
                graph.store(graph.view(self._project(x, kv_width, rotary=False)))
                q = self._project(x, q_width, norm, rotary)
                return graph.node(self._wide(), self._mix(graph.view(q), kind, q_width, model.head_dim))
            q = self._project(x, q_width, norm, rotary)
            if self.batch.stores_rows:
                v = self._project(x, kv_width, rotary=False)
                k = self._project(x, kv_width, norm, rotary)
            else:
                k = self._project(x, kv_width, norm, rotary)
                v = self._project(x, kv_width, rotary=False)
        graph.store(graph.view(k), self.rows[0])
        graph.store(graph.view(v), self.rows[1])
        mixed = self._mix(graph.view(q), kind, q_width, model.head_dim)
        if gate is not None:
            mixed = graph.inplace(self._wide(q_width), mixed, gate)
        return graph.node(self._wide(), mixed)

    def _mix(self, q: int, kind: str, width: int, head_dim: int) -> int:
        model, graph = self.model, self.graph
        mask = self.masks.get(kind, self.masks[next(iter(self.masks))])
        if self.batch.flash:
            return graph.view(graph.node(self._wide(width), q, mask))
        size = self._cells(kind) * self.batch.tokens * model.heads * F32
        scores = graph.inplace(size, graph.node(size, q), mask)
        mixed = graph.view(graph.node(self._wide(width), scores))
        return graph.node(self._wide(width), mixed)

    def _latent(self, x: int, kind: str) -> int:
        model, graph, latent = self.model, self.graph, self.model.latent
        assert latent is not None
        heads, rank = model.heads, latent.kv_rank
        x_q = self._normed(graph.node(self._wide(latent.q_rank), x)) if latent.q_rank else x
        q = graph.node(self._wide(heads * (latent.nope_dim + latent.rope_dim)), x_q)
        compressed = graph.node(self._wide(rank + latent.rope_dim), x)
        turned = graph.node(self._wide(heads * latent.rope_dim), graph.view(q), self.positions)
        turned_k = graph.node(self._wide(latent.rope_dim), graph.view(compressed), self.positions)
        vector = self._normed(graph.node(self._wide(rank), graph.view(compressed)))
        absorbed = graph.view(graph.node(self._wide(heads * rank), graph.view(q)))
        query = graph.node(self._wide(heads * (rank + latent.rope_dim)), turned, absorbed)
        key = graph.node(self._wide(rank + latent.rope_dim), turned_k, vector)
        graph.store(graph.view(key), self.rows[0])
        mixed = self._mix(graph.view(query), kind, heads * rank, rank)
        out = graph.node(self._wide(heads * latent.v_dim), mixed)
        return graph.node(self._wide(), graph.node(self._wide(heads * latent.v_dim), graph.view(out)))

    def _recurrent(self, x: int) -> int:
        """Gated delta net: q, k, v with the convolution's past, then the chunked recurrence with its state."""
        graph, state = self.graph, self.model.recurrent
        assert state is not None
        keys, values = state.key_heads * state.key_dim, state.value_heads * state.value_dim
        both = graph.node(self._wide(2 * keys + values), x)
        gate = graph.node(self._wide(values), x)
        rest = graph.node(self._wide(2 * state.value_heads), x)
        convolved = graph.node(
            self._wide(2 * keys + values), graph.node(self._wide(2 * keys + values), graph.view(both))
        )
        active = graph.inplace(self._wide(2 * keys + values), convolved)
        parts = [graph.node(self._wide(values), graph.view(active)) for _ in range(3)]
        matrix = state.value_heads * state.value_dim * state.key_dim * self.batch.sequences * F32
        mixed = graph.node(self._wide(values) + matrix, *parts, rest)
        normed = self._normed(graph.node(self._wide(values), graph.view(mixed)))
        return graph.node(self._wide(), graph.inplace(self._wide(values), normed, gate))

    def _ffn(self, x: int, layer: int) -> int:
        model = self.model
        if is_moe_layer(model, layer):
            return self._experts(x)
        return self._dense(x, model.ffn)

    def _dense(self, x: int, width: int) -> int:
        model, graph = self.model, self.graph
        size = self._wide(width)
        if model.gated and model.fused_gate_up:
            inner = graph.node(size, graph.node(2 * size, x))
        elif model.gated and self.batch.stores_rows:
            gate = graph.node(size, x)
            inner = graph.node(size, gate, graph.node(size, x))
        elif model.gated:
            up = graph.node(size, x)
            gate = graph.inplace(size, graph.node(size, x))
            inner = graph.inplace(size, gate, up)
        else:
            inner = graph.inplace(size, graph.node(size, x))
        return graph.node(self._wide(), inner)

    def _experts(self, x: int) -> int:
        model, graph, experts = self.model, self.graph, self.model.experts
        assert experts is not None
        used, size = experts.used, self._wide(experts.used * experts.ffn)
        scores = graph.inplace(self._wide(experts.count), graph.node(self._wide(experts.count), x))
        picked = graph.view(graph.node(self._wide(experts.count), scores))
        weights = graph.node(self._wide(used), graph.view(scores), picked)
        gate = graph.node(size, graph.view(x), picked)
        up = graph.node(size, graph.view(x), picked)
        inner = graph.node(size, gate, up)
        down = graph.node(self._wide(used * model.hidden), inner, picked)
        down = graph.inplace(self._wide(used * model.hidden), down, weights)
        total = graph.view(down)
        for _ in range(1, used):
            total = graph.inplace(self._wide(), total, graph.view(down))
        if experts.shared:
            total = graph.inplace(self._wide(), total, self._dense(x, experts.shared_ffn))
        return total
