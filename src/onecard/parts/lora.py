"""Low-rank adapters (LoRA, arXiv 2106.09685): which matrices they sit on and how many numbers they add.

A matrix of (inputs, outputs) gets A (rank x inputs) and B (outputs x rank): rank x (inputs + outputs) trained numbers.
"""

from onecard.core.errors import UnknownName
from onecard.core.model import Model
from onecard.parts.memo import per_model
from onecard.parts.transformer import Tensor, tensors

TARGETS = ("all", "attention", "qv")
_NAMES = {"attention": ("attn_q", "attn_k", "attn_v", "attn_output"), "qv": ("attn_q", "attn_v")}


@per_model
def adapted(model: Model, target: str = "all") -> tuple[Tensor, ...]:
    """The matrices that get an adapter: all linear layers but the head, or a part of the attention.

    Fused experts are no linear layers in transformers and get none. Raises UnknownName.
    """
    if target not in TARGETS:
        raise UnknownName("LoRA target", target, TARGETS)
    linear = [t for t in tensors(model) if t.role in ("attention", "ffn") and len(t.shape) == 2 and t.layer is not None]
    if target == "all":
        return tuple(linear)
    return tuple(t for t in linear if t.name.split(".")[2] in _NAMES[target])


@per_model
def lora_shapes(model: Model, rank: int, target: str = "all") -> tuple[tuple[int, int], ...]:
    """The trained matrices, A and B of each adapter, as (rows, columns)."""
    found: list[tuple[int, int]] = []
    for tensor in adapted(model, target):
        inputs, outputs = tensor.shape
        found += [(rank, inputs), (outputs, rank)]
    return tuple(found)


@per_model
def linear_weights(model: Model) -> tuple[int, int]:
    """(all weights of the linear layers but the head, those of the largest one)."""
    sizes = [t.elements for t in adapted(model, "all")]
    return sum(sizes), max(sizes)


@per_model
def lora_parameters(model: Model, rank: int, target: str = "all") -> int:
    """Trained numbers of all adapters."""
    return sum(rows * columns for rows, columns in lora_shapes(model, rank, target))
