"""Keys and values of a conversation, per runtime: the memory that grows with every token.

One token costs 2 x kv_heads x head_dim elements in each layer that attends. What differs is how many tokens a layer
keeps (all, or a window), whether K and V are kept at all (latent attention keeps one compressed vector, arXiv
2405.04434), and in what units a runtime reserves: llama.cpp allocates the whole context at once in cells, transformers grows
a tensor by concatenation, vLLM hands out pages. Linear-attention and state-space layers keep a state of fixed size instead.
"""

from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Model
from onecard.parts.quantized import row_bytes

LLAMA_CELLS = 256
"""llama.cpp rounds the context, and windows, up to this many cells (GGML_PAD(..., 256), src/llama-context.cpp; 32 before
flash attention existed)."""

LLAMA_WINDOWS = ("gemma2", "gemma3", "gemma3n", "gpt-oss", "cohere2", "llama4", "exaone4", "olmo2", "smallthinker")
"""Families whose windows llama.cpp keeps (hparams.set_swa_pattern, src/llama-model.cpp). Mistral-7B v0.1, Phi-3 and StarCoder2 slide
too, but there they run with the whole context in every layer."""


def widths(model: Model) -> tuple[int, int]:
    """Elements of K and of V of one token in one layer."""
    if model.latent:
        return model.latent.kv_rank + model.latent.rope_dim, 0
    return model.kv_heads * model.head_dim, model.kv_heads * model.head_dim


def padded(tokens: int, to: int = LLAMA_CELLS) -> int:
    """The next multiple."""
    return -(-tokens // to) * to


def llama_cells(model: Model, kind: str, context: int, sequences: int, micro_batch: int) -> int:
    """Cells that llama.cpp allocates in one layer: the context of all sequences, or what a window needs.

    A sliding layer keeps its window and a micro-batch (llama_kv_cache_iswa: GGML_PAD(min(size, n_swa x sequences +
    n_ubatch), 256)); with a context below that the whole context.
    """
    cells = padded(context) * sequences
    if kind == SLIDING and model.window:
        return min(cells, padded(model.window * sequences + micro_batch))
    return cells


def llama_kv_bytes(
    model: Model, layer: int, context: int, sequences: int, micro_batch: int, key: str, value: str, windows: bool = True
) -> int:
    """Bytes of K and V of one layer under llama.cpp; 0 for a layer that keeps a state instead.

    windows False: builds before sliding-window caches (May 2025) kept the whole context in every layer.
    """
    kind = model.kind_of(layer)
    if kind in (LINEAR, MAMBA):
        return 0
    cells = llama_cells(
        model, kind if windows and model.family in LLAMA_WINDOWS else FULL, context, sequences, micro_batch
    )
    k, v = widths(model)
    return cells * (row_bytes(key, k) + (row_bytes(value, v) if v else 0))


def state_bytes(model: Model, sequences: int = 1, element: int = 4) -> int:
    """States of all linear-attention and state-space layers: the convolution's last inputs and the recurrent matrix.

    Both are fp32 in llama.cpp (llama_memory_recurrent; hparams n_embd_r and n_embd_s).
    """
    state = model.recurrent
    if state is None:
        return 0
    keys, values = state.key_heads * state.key_dim, state.value_heads * state.value_dim
    convolution = (state.convolution - 1) * (2 * keys + values)
    matrix = state.value_heads * state.value_dim * state.key_dim
    layers = model.count_kind(LINEAR) + model.count_kind(MAMBA)
    return layers * sequences * (convolution + matrix) * element


def token_bytes(model: Model, layer: int, element: float = 2.0) -> float:
    """Bytes that one token adds in one layer in a torch runtime, full attention or within the window.

    transformers expands latent attention to ordinary heads before it caches (modeling_deepseek_v2.py): K has the
    position part too, V is padded only under FlashAttention.
    """
    if model.kind_of(layer) in (LINEAR, MAMBA):
        return 0.0
    if model.latent:
        latent = model.latent
        return model.heads * (latent.nope_dim + latent.rope_dim + latent.v_dim) * element
    return 2 * model.kv_heads * model.head_dim * element


def torch_kv_bytes(model: Model, tokens: int, sequences: int = 1, element: float = 2.0, windows: bool = False) -> float:
    """Bytes of a transformers cache after so many tokens. windows: sliding layers drop what left their window."""
    total = 0.0
    for layer in range(model.layers):
        held = tokens
        if windows and model.window and model.kind_of(layer) == SLIDING:
            held = min(tokens, model.window - 1)
        total += token_bytes(model, layer, element) * held
    return total * sequences
