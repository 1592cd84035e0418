"""Memory of llama.cpp, part by part as its own log prints it: model, KV and compute buffers, on the device and on the host.

Placement (src/llama-model.cpp, load_tensors): the embedding table always stays on the host; of n layers on the device it
is the last ones, and the output counts as one more layer, the first to go to the device since build 7400 and the last before.
A tied model has its table twice on a card: for looking up on the host, for the head on the device. Matrices that stay on the host are
copied to the device one at a time when a prompt is read (op offload), so they enlarge the compute buffer.
"""

import re
from typing import NamedTuple

from onecard.core.cost import Part
from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Model
from onecard.core.ranges import Range
from onecard.parts.kv_cache import LLAMA_WINDOWS, llama_kv_bytes, padded, state_bytes
from onecard.parts.llama_graph import Batch, compute_bytes
from onecard.parts.memo import per_model
from onecard.parts.mixes import alike, types_alike
from onecard.parts.quantized import cuda_bytes, tensor_bytes

CURRENT = 99999

REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "Q2_K"})
"""Types of which the CPU backend keeps a copy in another order of blocks on AVX2 and NEON (ggml/src/ggml-cpu/repack.cpp)"""


class Era(NamedTuple):
    """What a build number changes about memory."""

    build: int

    @property
    def limits_outputs(self) -> bool:
        """one row of logits a sequence instead of one a token (ggml-org/llama.cpp#23861, June 2026)"""
        return self.build >= 9450

    @property
    def selects(self) -> bool:
        """the second branch for given embeddings"""
        return self.build >= 9450

    @property
    def output_first(self) -> bool:
        return self.build >= 7400

    @property
    def stores_rows(self) -> bool:
        """caches written by row index, gating in one kernel (July 2025)"""
        return self.build >= 5900

    @property
    def windows(self) -> bool:
        """caches of their own for sliding windows (ggml-org/llama.cpp#13194, May 2025)"""
        return self.build >= 5430

    @property
    def latent_without_values(self) -> bool:
        """latent attention keeps one vector a token instead of keys and values of every head"""
        return self.build >= 5026

    @property
    def gathers(self) -> bool:
        """only rows with outputs pass the last layer (ggml-org/llama.cpp#6122, March 2024)"""
        return self.build >= 2500

    @property
    def query_last(self) -> bool:
        """order of computing of 2023, before llm_build_kv expanded queries, keys and values together"""
        return self.build < 1800

    @property
    def half_mask(self) -> bool:
        return self.build >= 9000

    @property
    def cells(self) -> int:
        """the context is rounded up to so many (256 since flash attention, 32 before)"""
        return 256 if self.build >= 2700 else 32


def era(version: str | None) -> Era:
    """From "b2824", "2824" or None for a current build."""
    found = re.search(r"\d+", version or "")
    return Era(int(found[0]) if found else CURRENT)


class Layout(NamedTuple):
    """Bytes of weights by place."""

    device: int
    host: int
    twice: int
    """of the host's, what is on the device too: the table of a tied model"""
    largest_host: int
    """the largest layer matrix on the host"""
    output_on_host: int
    repacked: int
    """what a CPU backend with the usual instruction sets would keep in another order"""


class _Sizes(NamedTuple):
    """Bytes of each layer and of what stands outside of them."""

    host: tuple[int, ...]
    device: tuple[int, ...]
    largest: tuple[int, ...]
    table: int
    """the embedding table, on the host"""
    table_device: int
    """the same as the head of a tied model; 0 where the head is a tensor of its own"""
    head: int
    head_device: int
    repacked: int


@per_model
def _sizes(model: Model, quant: str) -> _Sizes:
    layers = model.layers
    host, device, largest = [0] * layers, [0] * layers, [0] * layers
    # What is the same in every layer is added up once for all of them.
    each_host = each_device = each_largest = 0
    table = table_device = head = head_device = repacked = 0
    for group, types in zip(alike(model), types_alike(model, quant), strict=True):
        one = group.tensors[0]
        repacks = one.role in ("attention", "ffn", "expert", "recurrent")
        if group.everywhere and isinstance(types, str):
            size = tensor_bytes(types, one.shape)
            each_host += size
            each_device += cuda_bytes(types, one.shape)
            each_largest = max(each_largest, size)
            repacked += size * layers * (repacks and types in REPACKED)
            continue
        for tensor, type in group.typed(types):
            layer, size, padded_size = tensor.layer, tensor_bytes(type, one.shape), cuda_bytes(type, one.shape)
            if repacks and type in REPACKED:
                repacked += size
            if layer is not None and layer < layers:
                host[layer] += size
                device[layer] += padded_size
                if size > largest[layer]:
                    largest[layer] = size
            elif tensor.name.startswith("output") or tensor.role == "output":
                head += size
                head_device += padded_size
            else:
                table += size
                if tensor.role == "embedding" and model.tied:
                    table_device = padded_size
    return _Sizes(
        tuple([size + each_host for size in host]),
        tuple([size + each_device for size in device]),
        tuple([max(size, each_largest) for size in largest]),
        table,
        table_device,
        head,
        head_device,
        repacked,
    )


@per_model
def layout(model: Model, quant: str, on_device: int, output_first: bool) -> Layout:
    """Where each tensor goes with `on_device` of layers + 1 on the device."""
    sizes = _sizes(model, quant)
    output = on_device > 0 if output_first else on_device > model.layers
    first = max(0, model.layers + (1 if output_first else 0) - on_device)
    first = min(first, model.layers)
    device, host = sum(sizes.device[first:]), sum(sizes.host[:first]) + sizes.table
    twice = kept = 0
    if output:
        twice = sizes.table_device
        device += sizes.head_device + twice
    else:
        host += sizes.head
        kept = sizes.table if sizes.table_device else sizes.head
    return Layout(device, host, twice, max(sizes.largest[:first], default=0), kept, sizes.repacked)


def llama_parts(
    model: Model,
    *,
    quant: str,
    context: int,
    sequences: int = 1,
    micro_batch: int = 512,
    key: str = "F16",
    value: str | None = None,
    flash: bool = True,
    gpu_layers: int | None = None,
    version: str | None = None,
    swa_full: bool = False,
    mmap: bool = True,
) -> tuple[Part, ...]:
    """Every buffer of one llama.cpp process."""
    age = era(version)
    value = value or key
    everything = model.layers + 1
    on_device = everything if gpu_layers is None or gpu_layers < 0 else min(gpu_layers, everything)
    place = layout(model, quant, on_device, age.output_first)
    first = model.layers + (1 if age.output_first else 0) - on_device
    windows = age.windows and not swa_full and model.family in LLAMA_WINDOWS
    cells = padded(context, age.cells)
    tokens = min(micro_batch, cells)
    cache = _cache(model, cells, sequences, tokens, key, value, windows, age.latent_without_values)
    device_cache = sum(cache[max(first, 0) :])
    host_cache = sum(cache) - device_cache
    states = state_bytes(model, sequences)
    recurrent = model.count_kind(LINEAR) + model.count_kind(MAMBA)
    moved = sum(model.kind_of(i) in (LINEAR, MAMBA) for i in range(max(first, 0), model.layers)) if recurrent else 0
    share = moved / max(recurrent, 1)
    reserve = Batch(
        tokens=tokens,
        context=cells,
        sequences=sequences,
        flash=flash,
        logits=sequences if age.limits_outputs else tokens,
        half_mask=age.half_mask,
        windows=windows,
        stores_rows=age.stores_rows,
        gathers=age.gathers,
        query_last=age.query_last,
    )
    on_host = everything - on_device
    split = f"{on_device} of {everything} layers"
    seen = f"{cells:,} cells x {sequences}"
    width = (
        f"{model.kv_heads} heads x {model.head_dim} x (K {key} + V {value})"
        if not model.latent
        else (f"({model.latent.kv_rank} + {model.latent.rope_dim}) x {key}, one vector a token")
    )
    scores = "no scores (flash attention)" if flash else f"scores {model.heads} heads x {cells:,} x {tokens:,} x 4 B"
    rows = f"{reserve.logits:,} rows of {model.vocab:,} logits"
    graph = f"largest graph: {tokens:,} tokens, {scores}, {rows}, played through ggml's allocator"
    found = [
        _part("weights", place.device, 0.001, equation=f"{quant}: tensors of {split}, without the embedding table"),
        _part("kv_cache", device_cache, 0.001, equation=f"{_attending(model)} x {seen} x {width}"),
        _part(
            "other", round(states * share), 0.01, equation=f"state of {recurrent} recurrent layers x {sequences}, fp32"
        ),
        _work(model, reserve, place, on_device, graph),
        _part(
            "weights",
            place.host - place.twice,
            0.002,
            "host",
            equation=f"embedding table and {on_host} of {everything} layers",
        ),
        _part("weights", place.twice, 0.002, "host", "card", "the tied table once more, to look up on the host"),
        _part("kv_cache", host_cache, 0.001, "host", equation=f"{on_host} layers on the host"),
        _part("other", round(states * (1 - share)), 0.01, "host", equation="states of layers on the host"),
        _part(
            "other", sequences * model.vocab * 4, 0.05, "host", equation=f"logits: {sequences} x {model.vocab:,} x 4 B"
        ),
    ]
    mask = cells * sequences * tokens * (2 if flash and age.half_mask else 4)
    # Looked-up rows and the mask wait in pinned memory; current builds keep their second branch there too.
    inputs = mask + model.hidden * tokens * 4 * (4 if age.selects else 1)
    found.append(
        _part("workspace", inputs, 0.1, "host", "card", "mask and embeddings of a micro-batch, before they are copied")
    )
    return tuple(p for p in found if p.bytes.high > 0)


@per_model
def cpu_parts(
    model: Model, quant: str, context: int, sequences: int, micro_batch: int, flash: bool, version: str | None
) -> tuple[Part, ...]:
    """What differs where the processor does the work: its compute buffer, and weights repacked for its instructions.

    All of it is only for a CPU: a plan that puts layers on a card does not ask.
    """
    age = era(version)
    cells = padded(context, age.cells)
    tokens = min(micro_batch, cells)
    reserve = Batch(
        tokens=tokens,
        context=cells,
        sequences=sequences,
        flash=flash,
        logits=sequences if age.limits_outputs else tokens,
        on_card=False,
        selects=age.selects,
        half_mask=age.half_mask,
        windows=age.windows and model.family in LLAMA_WINDOWS,
        stores_rows=age.stores_rows,
        gathers=age.gathers,
        query_last=age.query_last,
    )
    repacked = layout(model, quant, 0, age.output_first).repacked
    return (
        _part("workspace", compute_bytes(model, reserve), 0.03, "device", "cpu", f"largest graph of {tokens:,} tokens"),
        _part("other", repacked, 0.03, "device", "cpu", "matrices that the processor keeps in its own order of blocks"),
    )


@per_model
def _cache(
    model: Model, cells: int, sequences: int, tokens: int, key: str, value: str, windows: bool, latent: bool
) -> tuple[int, ...]:
    """Bytes of keys and values, layer by layer."""
    if model.latent and not latent:
        wide = model.latent.nope_dim + model.latent.rope_dim + model.latent.v_dim
        return (cells * sequences * model.heads * wide * 2,) * model.layers
    by_kind: dict[str, int] = {}
    for layer in range(model.layers):
        kind = model.kind_of(layer)
        if kind not in by_kind:
            by_kind[kind] = llama_kv_bytes(model, layer, cells, sequences, tokens, key, value, windows)
    return tuple(by_kind[model.kind_of(layer)] for layer in range(model.layers))


def _part(name: str, size: int, spread: float, place: str = "device", only: str = "", equation: str = "") -> Part:
    return Part(name=name, bytes=Range.within(size, spread, spread), place=place, only=only, equation=equation)


@per_model
def _attending(model: Model) -> str:
    """How many layers keep keys and values, by kind."""
    full, sliding = model.count_kind(FULL), model.count_kind(SLIDING)
    return f"{full} layers" if not sliding else f"({full} full layers, {sliding} with a window of {model.window:,})"


def _work(model: Model, reserve: Batch, place: Layout, on_device: int, equation: str) -> Part:
    """The device's compute buffer. The matrices of a host part pass through it, one at a time."""
    base = compute_bytes(model, reserve)
    likely = float(base)
    if on_device <= model.layers:
        body = compute_bytes(model, reserve._replace(logits=1, gathers=True)) + place.largest_host
        head = base + place.output_on_host
        likely = max(base, body, head)
    # A margin of a hidden state or two: which block a result falls into depends on details of the graph.
    # Graphs of latent attention, recurrent layers and parallel blocks are played less exactly (checked on tiny models: 0 to 14 %).
    unusual = model.latent is not None or model.recurrent is not None or model.parallel
    margin = (0.1 if unusual else 0.01) * likely + 2 * 2**20
    size = Range(min(base, likely - margin), likely, likely * 1.01 + margin)
    return Part(name="workspace", bytes=size, only="card", equation=equation)
