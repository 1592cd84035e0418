"""Which kernel `scaled_dot_product_attention` takes on a card: cuDNN, flash, memory-efficient, or plain math.

The kernels differ in what they keep for the backward pass, by as much as the whole score matrix. PyTorch picks by
capability, dtype, head size, mask and dropout; these rules are restated here from
aten/src/ATen/native/transformers/cuda/sdp_utils.cpp and attention.cpp of PyTorch 2.13:

- the order is flash, efficient, math; cuDNN comes first on capability 9.x and 10.x with cuDNN newer than 9.15.0;
- whoever the user has switched off (torch.backends.cuda.enable_flash_sdp, torch.nn.attention.sdpa_kernel) is passed over.

`choose` is a pure function of a Request; `attend` calls the kernel's operator, which has a fake implementation.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import torch
import torch.nn.functional as F

from onecard.tracing.profiles import Profile

Capability = tuple[int, int]

SMALL_SHARED_MEMORY: tuple[Capability, ...] = ((8, 6), (8, 9), (12, 0), (12, 1))
"""flash backward for heads above 192 needs more shared memory than these have"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the choice depends on. Sizes are (batch, heads, tokens, head)."""

    dtype: str
    """float16, bfloat16, float32, float64"""
    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    mask: bool = False
    mask_grad: bool = False
    dropout: float = 0.0
    causal: bool = False
    grouped: bool = False
    """enable_gqa"""
    grad: bool = False
    enabled: frozenset[str] = frozenset({"cudnn", "flash", "efficient", "math"})


def choose(request: Request, capability: Capability, cudnn: int) -> str:
    """cudnn, flash, efficient or math. Anything that is not 4-dimensional is math."""
    if len(request.query) != 4:
        return "math"
    order = ["flash", "efficient", "math"]
    if capability[0] in (9, 10) and cudnn > 91500:
        order.insert(0, "cudnn")
    for name in order:
        if name in request.enabled and _CAN[name](request, capability, cudnn):
            return name
    return "math"


def _half(request: Request) -> bool:
    return request.dtype in ("float16", "bfloat16")


def _cudnn(request: Request, capability: Capability, cudnn: int) -> bool:
    head, value_head = request.query[-1], request.value[-1]
    largest = 256 if cudnn >= 91000 and capability[0] in (9, 10) and not request.grad else 128
    return (
        _half(request)
        and capability >= (8, 0)
        and head % 8 == 0
        and value_head % 8 == 0
        and max(head, value_head) <= largest
        and request.key[2] != 1
        and not (request.dropout and request.query[2] == 1)
        # the kernel keeps the dropout probability in sixteenths
        and (request.dropout * 16).is_integer()
        and not request.mask_grad
        and not torch.are_deterministic_algorithms_enabled()
    )


def _flash(request: Request, capability: Capability, cudnn: int) -> bool:
    head = request.query[-1]
    excluded = (
        capability in SMALL_SHARED_MEMORY and request.grad and head > 192 and (head <= 224 or request.dropout > 0)
    )
    return (
        _half(request)
        and (8, 0) <= capability <= (12, 1)
        and not request.mask
        and request.key[-1] == head
        and request.value[-1] == head
        and head <= 256
        and (request.grouped or request.query[1] == request.key[1])
        and not (request.causal and request.query[2] != request.key[2])
        and not excluded
    )


def _efficient(request: Request, capability: Capability, cudnn: int) -> bool:
    half = _half(request)
    # half precision loads 16 bytes; fp32 does where the matrix units take it (tf32, capability 8 on)
    aligned = 8 if half else 4 if capability >= (8, 0) else 1
    return (
        request.dtype in ("float16", "bfloat16", "float32")
        and (request.dtype != "bfloat16" or capability >= (8, 0))
        and capability >= (5, 0)
        and request.key[-1] == request.query[-1]
        and request.query[-1] % aligned == 0
        and request.value[-1] % aligned == 0
        and (request.grouped or request.query[1] == request.key[1])
    )


_CAN: dict[str, Callable[[Request, Capability, int], bool]] = {
    "cudnn": _cudnn,
    "flash": _flash,
    "efficient": _efficient,
    "math": lambda request, capability, cudnn: True,
}


def attend(
    profile: Profile,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    grouped: bool = False,
) -> tuple[torch.Tensor, str]:
    """The attention as a card of this profile computes it, and by which kernel."""
    grad = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    kernel = choose(
        Request(
            dtype=str(query.dtype).removeprefix("torch."),
            query=tuple(query.shape),
            key=tuple(key.shape),
            value=tuple(value.shape),
            mask=mask is not None,
            mask_grad=mask is not None and mask.requires_grad,
            dropout=dropout,
            causal=causal,
            grouped=grouped,
            grad=grad,
            enabled=_enabled(),
        ),
        profile.capability,
        profile.cudnn,
    )
    if kernel == "math":
        return _math(query, key, value, mask, dropout, causal, scale, grouped), kernel
    if mask is not None and mask.dtype == torch.bool:
        mask = _as_bias(mask, query.dtype)
    call = {"cudnn": _call_cudnn, "flash": _call_flash, "efficient": _call_efficient}[kernel]
    return call(query, key, value, mask, dropout, causal, scale, grad), kernel


def _enabled() -> frozenset[str]:
    switches = {
        "cudnn": torch._C._get_cudnn_sdp_enabled(),
        "flash": torch._C._get_flash_sdp_enabled(),
        "efficient": torch._C._get_mem_efficient_sdp_enabled(),
        "math": torch._C._get_math_sdp_enabled(),
    }
    return frozenset(name for name, on in switches.items() if on)


def _as_bias(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A boolean mask becomes 0 where it is true and -inf elsewhere (convert_boolean_attn_mask)."""
    bias = torch.zeros_like(mask, dtype=dtype)
    return bias.masked_fill_(mask.logical_not(), float("-inf"))


def _call_cudnn(
    query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grad: bool
) -> Any:
    cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention
    return cudnn(query, key, value, mask, grad, dropout, causal, False, scale=scale)[0]


def _call_flash(
    query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grad: bool
) -> Any:
    head = query.shape[-1]
    scale = scale if scale is not None else 1 / math.sqrt(head)
    if head % 8:  # heads are padded to a multiple of 8 before the kernel and cut after it
        query, key, value = (F.pad(t, (0, 8 - head % 8)) for t in (query, key, value))
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    out = flash(query, key, value, dropout, causal, False, scale=scale)[0]
    return out[..., :head] if head % 8 else out


def _call_efficient(
    query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grad: bool
) -> Any:
    if mask is not None:
        mask = mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
        if key.shape[2] % 16:  # rows of the bias are aligned to 16 elements (pad_bias)
            mask = F.pad(mask, (0, 16 - key.shape[2] % 16))[..., : key.shape[2]]
    if key.shape[1] != query.shape[1]:
        key, value = (t.repeat_interleave(query.shape[1] // key.shape[1], 1) for t in (key, value))
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, mask, grad, dropout, causal, scale=scale)[0]


def _math(
    query: Any, key: Any, value: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grouped: bool
) -> Any:
    math_attention = torch.ops.aten._scaled_dot_product_attention_math
    return math_attention(query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=grouped)[0]
