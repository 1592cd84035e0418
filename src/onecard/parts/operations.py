"""What a decoder does per token: the Operations of prefill and decode, counted from its shapes for one engine.

Decode reads every weight of the blocks and the head once for each step (never the embedding table: one row of it),
the KV cache at its present depth once, and does 2 FLOPs per weight and sequence. A mixture of experts reads the experts
that the step's tokens visit: with E experts, k used and b tokens, E (1 - (1 - k/E)^b) of them on average.
Prefill does the same multiplications for all tokens of a micro-batch at once, the head for the last token only
(where the engine is that clever), and attention over a triangle: token i looks at i others, so half of n^2 pairs.

Launches are kernels (compiled engines) or library calls (eager ones), counted per layer from the published graphs:
llama.cpp's build_llama, transformers' modeling_llama.
"""

import msgspec

from onecard.core.cost import Operation
from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Model
from onecard.parts.generations import Generation

FLOATS = ("f16", "fp16", "bf16", "f32", "fp32")

VECTOR_ROWS = 8
"""up to so many rows engines use matrix-vector kernels (MMVQ_MAX_BATCH_SIZE in llama.cpp)"""

LAYER_CALLS = {False: 20.0, True: 7.0}
"""Kernels of one layer besides matmuls, attention and norms: eager (rotary embedding of 12, activation, residuals, casts) and
fused (two rotary embeddings, two cache writes, activation, two residuals)"""

NORM_CALLS = {False: 8.0, True: 2.0}
"""Kernels of one RMS norm: eager torch calls (to fp32, square, mean, add, rsqrt, multiply, back, scale), or norm and scale"""

ATTENTION_CALLS = {False: 4.0, True: 1.0}
"""scores, softmax, values and a copy; or one fused kernel"""

LINEAR_CALLS: dict[tuple[str, str], float] = {
    ("llama.cpp", ""): 1.0, ("llama.cpp", "quantized"): 2.0,
    ("transformers", "gptq-int4"): 0.5, ("transformers", "gptq-int8"): 2.5, ("transformers", "awq-int4"): 2.5,
    ("transformers", "nf4"): 4.0, ("transformers", "nf4-dq"): 6.0, ("transformers", "int8"): 12.0,
    ("litgpt", "nf4"): 4.4, ("litgpt", "nf4-dq"): 6.0, ("litgpt", "fp4"): 4.4, ("litgpt", "fp4-dq"): 6.0,
    ("litgpt", "int8"): 20.0,
}  # fmt: skip
"""Calls that one linear layer takes. llama.cpp quantises the activations first (quantize_q8_1), then multiplies; bitsandbytes
dequantises (twice with double quantisation); GPTQ's int8 path unpacks with ordinary torch calls; AWQ splits k and sums."""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """Matrices of one shape and format together."""

    n: int
    """outputs"""
    k: int
    """inputs"""
    count: float
    format: str
    bytes: float
    """of all of them, as stored"""
    role: str = "body"
    """body, head, or expert: only those experts count that a token visits"""
    place: str = "device"

    @property
    def elements(self) -> float:
        return float(self.n) * self.k * self.count


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a conversation that decides its operations."""

    model: Model
    weights: tuple[Weight, ...]
    generation: Generation
    batch: int = 1
    """sequences side by side"""
    kv_bytes: float = 2.0
    """bytes per element of the cache"""
    flash: bool = True
    micro_batch: int = 512
    gpu_layers: int | None = None
    """layers on the device, from the last; None: all"""


def decode(chat: Chat, depth: float) -> tuple[Operation, ...]:
    """Operations of one step: one token for each of `batch` sequences at a mean `depth` of the cache."""
    limit = chat.generation.graph_depth
    if limit is not None and depth > limit:
        eager = msgspec.structs.replace(chat.generation, name=f"{chat.generation.name}-eager", graph_depth=None)
        chat = msgspec.structs.replace(chat, generation=eager)
    operations = [*_matmuls(chat, float(chat.batch), float(chat.batch))]
    operations += _split(chat, _attention(chat, depth, float(chat.batch), depth))
    operations.append(_elementwise(chat, float(chat.batch)))
    return tuple(operations)


def prefill(chat: Chat, tokens: int, past: float = 0.0) -> tuple[Operation, ...]:
    """Operations of the whole prompt of `tokens` per sequence after `past` tokens in the cache, in micro-batches."""
    rows = float(tokens * chat.batch)
    chunk = min(float(chat.micro_batch), rows)
    steps = rows / chunk
    operations = [_scaled(o, steps) for o in _matmuls(chat, chunk, rows / steps if chat.generation.all_logits else 1.0)]
    operations += _split(chat, _attention(chat, past + tokens / 2, rows, past + tokens, steps))
    operations.append(_scaled(_elementwise(chat, chunk), steps))
    return tuple(operations)


_ROLES = {"head": "head", "expert": "experts", "body": "weights"}


def visited(model: Model, tokens: float) -> float:
    """Share of a layer's routed experts that `tokens` tokens visit together, routed evenly."""
    if model.experts is None:
        return 1.0
    share = model.experts.used / model.experts.count
    return float(1 - (1 - share) ** tokens)


def _matmuls(chat: Chat, rows: float, head_rows: float) -> list[Operation]:
    model, generation = chat.model, chat.generation
    found: list[Operation] = []
    routed = model.experts.used / model.experts.count if model.experts else 1.0
    for weight in chat.weights:
        expert = weight.role == "expert"
        m = head_rows if weight.role == "head" else rows
        share = visited(model, rows) if expert else 1.0
        work = routed if expert else 1.0
        calls = _calls(generation.engine, weight.format)
        if expert and generation.expert_loop:
            launches = weight.count * calls * (share if generation.expert_loop == "hit" else 1.0)
        elif expert and model.experts:
            launches = weight.count / model.experts.count * (calls + 1)
        else:
            launches = weight.count * calls
        quantized = weight.format not in FLOATS
        format = weight.format
        if rows > VECTOR_ROWS and quantized and generation.dequantizes:
            # One pass writes fp16, the library's matmul reads it back; per micro-batch.
            found.append(
                Operation(
                    kind="quantize", kernel=generation.name, format=format, read=weight.bytes * share,
                    written=2.0 * weight.elements * share, launches=weight.count, place=weight.place, label="to fp16",
                )
            )  # fmt: skip
            format = "f16"
        size = weight.bytes if format == weight.format else 2.0 * weight.elements
        found.append(
            Operation(
                kind="matmul", kernel=generation.name, format=format, compute=arithmetic(generation, format),
                flops=2.0 * weight.elements * work * m,
                read=size * share + m * weight.k * weight.count * work * 2,
                written=m * weight.n * weight.count * work * 2,
                launches=launches,
                shape=(max(1, round(m * (routed / share if expert else 1.0))), weight.n, weight.k),
                place=weight.place, label=f"{_ROLES[weight.role]} {weight.k} x {weight.n}",
            )
        )  # fmt: skip
    return found


def arithmetic(generation: Generation, format: str) -> str:
    """The unit that multiplies: llama.cpp accumulates fp16 in fp16 and multiplies quantised blocks as int8; others fp32."""
    if generation.engine in ("llama.cpp", "exllama", "exllamav2"):
        if format in ("bf16", "f32"):
            return {"bf16": "bf16", "f32": "tf32"}[format]
        return "int8" if format not in FLOATS and generation.engine == "llama.cpp" else "fp16_acc16"
    return "fp8" if format == "fp8" else "bf16"


def _calls(engine: str, format: str) -> float:
    quantized = "" if format in FLOATS else "quantized"
    exact = LINEAR_CALLS.get((engine, format))
    return exact if exact is not None else LINEAR_CALLS.get((engine, quantized), 1.0)


def layer_reads(model: Model, depth: float) -> float:
    """Cache elements that one token reads over all layers at a depth: K and V of what each layer still sees."""
    if model.latent is not None:
        return (model.latent.kv_rank + model.latent.rope_dim) * depth * model.layers
    width = 2.0 * model.kv_heads * model.head_dim
    near = min(depth, float(model.window)) if model.window else depth
    return width * (model.count_kind(FULL) * depth + model.count_kind(SLIDING) * near)


def _attention(chat: Chat, depth: float, rows: float, longest: float, steps: float = 1.0) -> list[Operation]:
    """Scores and values of `rows` query tokens at a mean depth; a step reads the cache once for all its rows."""
    model, generation = chat.model, chat.generation
    layers = model.count_kind(FULL) + model.count_kind(SLIDING)
    sequences = chat.batch
    elements = layer_reads(model, depth)
    width = model.head_dim if model.latent is None else (model.latent.kv_rank + model.latent.rope_dim)
    seen = elements / max(1.0, layer_reads(model, 1.0)) if depth >= 1 else 0.0
    flops = 4.0 * rows * seen * layers * model.heads * width
    cache = elements * chat.kv_bytes * sequences * steps
    name = "flash" if chat.flash else "eager"
    compute = arithmetic(generation, "f16")
    found = [
        Operation(
            kind="attention", kernel=f"{generation.name}/{name}", format="", compute=compute, flops=flops,
            read=cache, written=rows * model.heads * width * 2.0 * layers,
            launches=layers * steps * ATTENTION_CALLS[chat.flash],
            shape=(max(1, round(rows / steps)), max(1, round(depth)), model.heads * layers), label="attention",
        )
    ]  # fmt: skip
    recurrent = model.count_kind(LINEAR) + model.count_kind(MAMBA)
    if recurrent and model.recurrent:
        r = model.recurrent
        state = float(r.value_heads * r.value_dim * r.key_dim) * recurrent
        found.append(
            Operation(
                kind="attention", kernel=f"{generation.name}/flash", compute=compute, flops=8.0 * state * rows,
                read=state * 4 * sequences * steps, written=state * 4 * sequences * steps,
                launches=recurrent * steps * 4, shape=(max(1, round(rows / steps)), 1, 1), label="state",
            )
        )  # fmt: skip
    if rows > sequences * 1.5 and not chat.flash:
        # The score matrix goes to memory and back: written, scaled and masked, softmax, read again.
        pairs = rows * seen * layers * model.heads
        found.append(
            Operation(
                kind="elementwise", kernel=f"{generation.name}/scores", read=pairs * 8, written=pairs * 8,
                label="scores",
            )
        )  # fmt: skip
    if rows <= sequences * 1.5 and generation.grows_kv:
        found.append(
            Operation(
                kind="copy", kernel=f"{generation.name}/cat", read=cache, written=cache, launches=2.0 * layers,
                 label="cache growth",
            )
        )  # fmt: skip
    group = model.heads / model.kv_heads
    if rows <= sequences * 1.5 and generation.expands_kv and group > 1 and model.latent is None:
        found.append(
            Operation(
                kind="copy", kernel=f"{generation.name}/expand", read=cache * (1 + group), written=cache * group,
                launches=2.0 * layers, label="repeated KV",
            )
        )  # fmt: skip
    return found


def _elementwise(chat: Chat, rows: float) -> Operation:
    """Norms, rotary embedding, activation, residuals: some passes over the activations of every layer."""
    model, generation = chat.model, chat.generation
    passes = 16.0 if generation.fused else 40.0
    inner = model.ffn if model.experts is None else (model.experts.ffn * model.experts.used + model.experts.shared_ffn)
    width = (4.0 if generation.engine == "llama.cpp" else 2.0) * rows * model.layers
    moved = width * (passes * model.hidden + 4.0 * inner)
    norms = model.norms_per_layer + (2 if model.qk_norm else 0)
    calls = LAYER_CALLS[generation.fused] + norms * NORM_CALLS[generation.fused]
    if model.experts is not None:
        looped = {"all": 1.0, "hit": visited(model, rows), "": 0.0}[generation.expert_loop]
        calls += 6.0 if generation.fused else 12.0 + 3.5 * model.experts.count * looped
    return Operation(
        kind="elementwise", kernel=generation.name, read=moved * 0.6, written=moved * 0.4, launches=calls * model.layers,
        label="norms and activations",
    )  # fmt: skip


def _split(chat: Chat, operations: list[Operation]) -> list[Operation]:
    """Layers on the host keep their cache there, and the CPU attends."""
    if chat.gpu_layers is None or chat.gpu_layers >= chat.model.layers:
        return operations
    share = chat.gpu_layers / chat.model.layers
    device = [_scaled(o, share) for o in operations] if share else []
    return device + [msgspec.structs.replace(_scaled(o, 1 - share), place="host") for o in operations]


def _scaled(operation: Operation, times: float) -> Operation:
    return msgspec.structs.replace(
        operation, flops=operation.flops * times, read=operation.read * times, written=operation.written * times,
        launches=operation.launches * times,
    )  # fmt: skip


def over_link(chat: Chat, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Prompt matmuls of host weights: llama.cpp sends the weights over the link once a micro-batch and multiplies on the
    device (op offload from 32 rows on, ggml-backend's offload_op)."""
    moved: list[Operation] = []
    for o in operations:
        if o.place == "host" and o.kind == "matmul" and o.shape and o.shape[0] >= 32:
            moved.append(msgspec.structs.replace(o, place="device"))
            activations = o.flops / o.shape[1]  # 2 m n k / n: two bytes for each of m x k
            size = o.read - activations
            moved.append(
                Operation(kind="copy", kernel=o.kernel, read=size, place="link", label="weights over the link")
            )
        else:
            moved.append(o)
    return tuple(moved)
