"""What each operator of PyTorch is to a card: its kind, and the arithmetic that it does.

FLOPs count a multiplication and an addition as two. Only matrix products, convolutions and attention have a formula;
everything else is limited by the bytes that it moves.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

aten = torch.ops.aten


class Work(NamedTuple):
    """Arithmetic of one call."""

    flops: float
    shape: tuple[int, int, int] | None = None
    """(m, n, k) of the matrix product that the kernel amounts to"""


Formula = Callable[[Sequence[Any], Any], Work]


def _mm(args: Sequence[Any], out: Any) -> Work:
    """(m, k) x (k, n): 2 m n k."""
    m, k = args[0].shape
    n = args[1].shape[1]
    return Work(2.0 * m * n * k, (m, n, k))


def _addmm(args: Sequence[Any], out: Any) -> Work:
    return _mm(args[1:], out)


def _bmm(args: Sequence[Any], out: Any) -> Work:
    batch, m, k = args[0].shape
    n = args[1].shape[2]
    return Work(2.0 * batch * m * n * k, (m, n, k))


def _baddbmm(args: Sequence[Any], out: Any) -> Work:
    return _bmm(args[1:], out)


def _convolution(args: Sequence[Any], out: Any) -> Work:
    """Each output element sums over input channels per group times the window: 2 x outputs x (c / groups) x window.

    As a matrix product: m = outputs per channel, n = output channels, k = the sum's length.
    """
    weight, transposed = args[1], args[6]
    reach = 1
    for size in weight.shape[1:]:
        reach *= size
    places = args[0] if transposed else out
    channels = weight.shape[0]
    m = places.numel() // max(1, places.shape[1])
    return Work(2.0 * places.numel() * reach, (m, channels, reach))


def _convolution_backward(args: Sequence[Any], out: Any) -> Work:
    """The gradient of the input and that of the weight cost as much as the forward pass each."""
    grad, source, weight, mask, transposed = args[0], args[1], args[2], args[-1], args[7]
    reach = 1
    for size in weight.shape[1:]:
        reach *= size
    places = source if transposed else grad
    once = 2.0 * places.numel() * reach
    m = places.numel() // max(1, places.shape[1])
    return Work(once * (bool(mask[0]) + bool(mask[1])), (m, weight.shape[0], reach))


def _attention(causal_at: int) -> Formula:
    def forward(args: Sequence[Any], out: Any) -> Work:
        """Scores and weighted values: 2 x 2 x batch x heads x queries x keys x head; half of it under a causal mask."""
        query, key, value = args[0], args[1], args[2]
        batch, heads, tokens, head = query.shape
        keys = key.shape[2]
        causal = len(args) > causal_at and bool(args[causal_at])
        share = 0.5 if causal and tokens > 1 else 1.0
        flops = 2.0 * batch * heads * tokens * keys * (head + value.shape[-1]) * share
        return Work(flops, (tokens, keys, head))

    return forward


def _attention_backward(causal_at: int) -> Formula:
    """Five products of the same size (the scores are computed again) against two forward."""

    def backward(args: Sequence[Any], out: Any) -> Work:
        forward = _attention(causal_at - 1)((*args[1:4], *args[4:]), out)
        causal = len(args) > causal_at and args[causal_at] is True
        whole = _attention(99)(args[1:4], out)
        return Work(2.5 * whole.flops * (0.5 if causal else 1.0), forward.shape)

    return backward


class Kernel(NamedTuple):
    """How to count an operator."""

    kind: str
    """as core.cost.Operation.kind"""
    library: str = "eager"
    """Operation.kernel"""
    formula: Formula | None = None
    launches: float = 1.0


def _packets(kernel: Kernel, *names: str) -> dict[str, Kernel]:
    return {f"aten::{name}": kernel for name in names}


TABLE: dict[str, Kernel] = {
    **_packets(Kernel("matmul", "cublas", _mm), "mm", "_int_mm"),
    **_packets(Kernel("matmul", "cublas", _addmm), "addmm", "_addmm_activation"),
    **_packets(Kernel("matmul", "cublas", _bmm), "bmm"),
    **_packets(Kernel("matmul", "cublas", _baddbmm), "baddbmm"),
    **_packets(Kernel("convolution", "cudnn", _convolution), "convolution", "_convolution", "cudnn_convolution"),
    **_packets(Kernel("convolution", "cudnn", _convolution_backward, 2.0), "convolution_backward"),
    # (query, key, value, dropout, is_causal, ...)
    **_packets(Kernel("attention", "flash", _attention(4)), "_scaled_dot_product_flash_attention"),
    # (grad, query, key, value, out, logsumexp, cum_q, cum_k, max_q, max_k, dropout, is_causal, ...)
    **_packets(
        Kernel("attention", "flash", _attention_backward(11), 3.0), "_scaled_dot_product_flash_attention_backward"
    ),
    # (query, key, value, bias, compute_log_sumexp, dropout, is_causal)
    **_packets(Kernel("attention", "efficient", _attention(6)), "_scaled_dot_product_efficient_attention"),
    # (grad, query, key, value, bias, out, logsumexp, seed, offset, dropout, input_mask, is_causal)
    **_packets(
        Kernel("attention", "efficient", _attention_backward(11), 2.0),
        "_scaled_dot_product_efficient_attention_backward",
    ),
    **_packets(Kernel("attention", "cudnn", _attention(6)), "_scaled_dot_product_cudnn_attention"),
    # (grad, query, key, value, out, logsumexp, seed, offset, bias, cum_q, cum_k, max_q, max_k, dropout, is_causal)
    **_packets(
        Kernel("attention", "cudnn", _attention_backward(14), 3.0), "_scaled_dot_product_cudnn_attention_backward"
    ),
    **_packets(Kernel("embedding"), "embedding", "embedding_dense_backward", "_embedding_bag"),
    **_packets(
        Kernel("embedding"), "index_select", "gather", "index", "index_put", "index_put_", "scatter", "scatter_"
    ),
    **_packets(Kernel("embedding"), "scatter_add", "scatter_add_", "index_add", "index_add_"),
    **_packets(Kernel("copy"), "_to_copy", "copy_", "clone", "cat", "stack", "_foreach_copy_", "constant_pad_nd"),
    **_packets(
        Kernel("reduction"), "sum", "mean", "amax", "amin", "max", "min", "var", "var_mean", "std", "norm", "any"
    ),
    **_packets(Kernel("reduction"), "all", "argmax", "argmin", "linalg_vector_norm", "prod", "logsumexp", "cumsum"),
    **_packets(Kernel("reduction"), "_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data"),
    **_packets(Kernel("reduction"), "native_layer_norm", "native_group_norm", "native_batch_norm", "cudnn_batch_norm"),
    **_packets(Kernel("reduction", launches=2.0), "native_layer_norm_backward", "native_group_norm_backward"),
    **_packets(Kernel("reduction", launches=2.0), "native_batch_norm_backward", "cudnn_batch_norm_backward"),
    **_packets(Kernel("reduction"), "_fused_rms_norm", "_fused_rms_norm_backward", "nll_loss_forward", "topk", "sort"),
    **_packets(Kernel("optimizer"), "_fused_adamw_", "_fused_adam_", "_fused_sgd_", "_fused_adagrad_"),
    **_packets(Kernel("host", launches=0.0), "_local_scalar_dense"),
    "bitsandbytes::gemm_4bit": Kernel("matmul", "bitsandbytes"),
    "bitsandbytes::gemv_4bit": Kernel("matmul", "bitsandbytes"),
    "bitsandbytes::quantize_4bit": Kernel("quantize", "bitsandbytes"),
    "bitsandbytes::dequantize_4bit": Kernel("quantize", "bitsandbytes"),
    "bitsandbytes::dequantize_blockwise": Kernel("quantize", "bitsandbytes"),
    "bitsandbytes::quantize_blockwise": Kernel("quantize", "bitsandbytes"),
    "bitsandbytes::optimizer_update_8bit_blockwise": Kernel("optimizer", "bitsandbytes"),
    "bitsandbytes::optimizer_update_32bit": Kernel("optimizer", "bitsandbytes"),
}

GENERAL = Kernel("elementwise")

NO_KERNEL = frozenset(
    f"aten::{name}"
    for name in (
        "empty",
        "empty_strided",
        "empty_like",
        "new_empty",
        "new_empty_strided",
        "empty_permuted",
        "lift_fresh",
    )
)
"""operators that allocate and compute nothing"""

LOOKING = frozenset({"aten::_unsafe_view", "aten::_reshape_alias"})
"""operators that look at their argument's memory, although their schema does not say so: the host calls them, no byte is moved"""

COMPUTE = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int8: "int8",
}
"""arithmetic unit by dtype of the first operand"""
