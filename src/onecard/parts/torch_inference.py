"""Peak memory of a conversation in torch runtimes: transformers by release, and engines built on torch.

The peak is the larger of three moments, all counted from what the forward function still holds by name:

- reading, in the feed-forward of a block: three inner activations (activation, up, product) and four hidden states (the
  embeddings, the block's input, the residual, the normed input), with the cache of the tokens read;
- reading, at the head: logits of every token of the prompt in 16 bits and their fp32 copy in releases before 4.45
  (6 x vocabulary bytes a token), of the last token since; one hidden state;
- writing, at the last token: the whole cache. Releases before 4.42 hand it on as a tuple, so that old and new cache of all
  layers live side by side; later ones replace one layer's tensor at a time.

Releases before 4.45 keep tables of cosines and sines for every position in every layer (modeling_llama.py,
LlamaRotaryEmbedding.cos_cached). Sources: modeling_qwen2.py and cache_utils.py of transformers 4.37, 4.38, 4.46, 4.51.
"""

import re
from typing import NamedTuple

from onecard.core.model import Model
from onecard.parts.kv_cache import torch_kv_bytes
from onecard.parts.torch_weights import base_format, head_bytes, largest_matrix, weight_bytes
from onecard.parts.transformer import attention_layers

CUBLAS = 8_519_680
"""The workspace of cuBLAS that torch allocates: ":4096:2:16:8" is 8.125 MiB (aten/src/ATen/cuda/CublasHandlePool.cpp)."""

KV_ELEMENT = {
    "fp16": 2.0,
    "f16": 2.0,
    "bf16": 2.0,
    "fp32": 4.0,
    "int8": 1.0,
    "q8_0": 1.0625,
    "fp8": 1.0,
    "q4_0": 0.5625,
    "int4": 0.5625,
}


class Peak(NamedTuple):
    """Bytes by part at the peak of one phase."""

    weights: float
    kv_cache: float
    activations: float
    workspace: float
    other: float = 0.0

    @property
    def total(self) -> float:
        return sum(self)


def release(version: str | None) -> tuple[int, ...]:
    """(4, 38, 2) from "4.38.2"; the current one for None."""
    found = re.search(r"\d+(?:\.\d+)+", version or "")
    return tuple(int(n) for n in found[0].split(".")) if found else (99,)


def inner_width(model: Model) -> int:
    """Widest inner activation a token has at once: of one expert's feed-forward no more than a share of the tokens passes."""
    if model.experts is None:
        return model.ffn
    return max(model.experts.shared_ffn, model.experts.ffn * 2, model.ffn if model.experts.dense_layers else 0)


def block_bytes(
    model: Model, tokens: int, attention: str, expands: bool, element: float = 2.0, softmax: float = 8.0
) -> float:
    """Activations of one block while reading, at its worse moment: the feed-forward or attention."""
    hidden = model.hidden * element
    gates = 3 if model.gated else 2
    ffn = (gates * inner_width(model) + 4 * model.hidden) * element * tokens
    q, kv = model.heads * model.head_dim * element, model.kv_heads * model.head_dim * element
    # states (embeddings, input, residual, normed), queries and the output (or both sides of the rotation), keys and values
    mixing = (4 * hidden + 2 * q + 2 * kv + (2 * q if expands and model.kv_heads < model.heads else 0)) * tokens
    if attention == "eager":
        # Scores; for the softmax an fp32 copy of them (bf16 has no kernel that converts as it goes) and its fp32 result.
        mixing += model.heads * float(tokens) ** 2 * (element + softmax)
    return max(ffn, mixing)


def transformers_phases(
    model: Model,
    quant: str,
    *,
    prompt: int,
    context: int,
    batch: int = 1,
    attention: str = "sdpa",
    version: str | None = None,
    kv_type: str = "fp16",
) -> tuple[Peak, Peak]:
    """Peaks of reading and of writing, as the allocator of torch sees them."""
    format, age = base_format(quant), release(version)
    weights = float(weight_bytes(model, format))
    element = KV_ELEMENT.get(kv_type.lower(), 2.0)
    width = 4.0 if format in ("fp32", "f32") else 2.0
    tables = 0.0
    if age < (4, 45) and not model.positions:
        positions = model.context or 4096
        tables = attention_layers(model) * min(positions, 32768) * model.head_dim * 2 * width
    workspace = float(CUBLAS) + dequantising(model, format)
    rows = prompt * batch
    windows = age >= (4, 50)
    cached = torch_kv_bytes(model, prompt, batch, element, windows)
    full = age < (4, 45)
    logits = model.vocab * (rows if full else batch) * (4.0 if width == 4 else 6.0)
    block = block_bytes(model, prompt, attention, age < (4, 48), width) * batch
    head = model.hidden * width * rows * (1 if full else 2) + logits
    reading = Peak(weights, cached, max(block, head), workspace, tables)
    held = torch_kv_bytes(model, context, batch, element, windows)
    if age < (4, 42):
        held *= 2
    else:
        held += held / max(1, attention_layers(model)) / 2
    one = block_bytes(model, 1, "flash", False, width) * batch + model.vocab * batch * 16
    writing = Peak(weights, held, one, workspace, tables)
    if format == "awq-int4" and model.tied and weights + head_bytes(model) > writing.total:
        # The checkpoint holds the tied head once more; both exist until the loader ties them.
        writing = writing._replace(other=tables + weights + head_bytes(model) - writing.total)
    return reading, writing


def dequantising(model: Model, format: str) -> float:
    """What kernels of quantised matrices keep: ExLlama's kernel for GPTQ int4 a buffer for its largest matrix in fp16."""
    if format in ("gptq-int4", "int8"):
        return largest_matrix(model) * 2.0
    if format in ("nf4", "nf4-dq", "fp4", "fp4-dq"):
        return largest_matrix(model) * 2.0
    return 0.0
