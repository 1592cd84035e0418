"""Memory that CUDA kernels take beside their results, which a trace on fake tensors cannot see.

Each rule says where it comes from. `source`: read in the code of the library; `measured`: seen in recordings of a real
card; `guess`: plausible, unproven, so that it widens the range of an Estimate. Rules hold for the versions they name.
"""

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from onecard.core.units import MiB
from onecard.tracing import reductions
from onecard.tracing.profiles import Profile

Sizes = list[int]
Formula = Callable[[Sequence[Any], dict[str, Any], Profile], Sizes]


class Rule(NamedTuple):
    """Scratch of one operator."""

    sizes: Formula
    provenance: str
    """source, measured or guess"""
    source: str
    versions: str = "torch 2.6 to 2.13"


def _up(number: int, grain: int) -> int:
    return -(-number // grain) * grain


def _flash_backward(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
    """softmax_d fp32 [batch, heads, queries rounded to 128]; dq accumulator fp32 [.., head rounded to 32]; with fewer
    key heads than query heads dk and dv for every query head, summed afterwards."""
    query, key = args[1], args[2]
    batch, heads, tokens, head = query.shape
    tokens, wide = _up(tokens, 128), _up(head, 32)
    sizes = [batch * heads * tokens * 4, batch * heads * tokens * wide * 4]
    if key.shape[1] != heads:
        sizes += [batch * heads * key.shape[2] * head * query.element_size()] * 2
    return sizes


def _efficient_backward(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
    """delta fp32 [batch, heads, queries]; for halves also an fp32 accumulator of the query's gradient."""
    query = args[1]
    batch, heads, tokens, head = query.shape
    sizes = [batch * heads * _up(tokens, 32) * 4]
    if query.element_size() == 2:
        sizes.append(batch * heads * _up(tokens, 64) * _up(head, 32) * 4)
    return sizes


def _cudnn_backward(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
    """An fp32 accumulator of the query's gradient and the row sums."""
    query = args[1]
    batch, heads, tokens, head = query.shape
    return [batch * heads * _up(tokens, 128) * 4 + batch * heads * _up(tokens, 128) * head * 4]


def _dims(value: Any) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


def _reduction(name: str, at: int = 1) -> Formula:
    """Partial results and semaphores of a reduction over the dimensions that stand at args[at]."""

    def sizes(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
        tensor = args[0]
        if tensor.dim() == 0 or not tensor.numel():
            return []
        dims = _dims(args[at]) if len(args) > at and not isinstance(args[at], bool) else []
        accumulator = reductions.ACCUMULATORS[name] * (2 if tensor.dtype == torch.float64 else 1)
        buffer, semaphores = reductions.scratch(
            tensor.shape,
            tensor.stride(),
            dims,
            tensor.element_size(),
            accumulator,
            profile.multiprocessors,
            profile.threads,
        )
        return [buffer, semaphores]

    return sizes


def _sorted_indices(at: int) -> Formula:
    """Sorting indices to add rows in a fixed order: indices and their places, twice (int64), above 3,072 indices."""

    def sizes(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
        given = args[at]
        indices = [i for i in given if isinstance(i, torch.Tensor)] if isinstance(given, list | tuple) else [given]
        count = max((i.numel() for i in indices), default=0)
        return [count * 8] * 4 if count > 3072 else []

    return sizes


def _bnb_matmul(args: Sequence[Any], kwargs: dict[str, Any], profile: Profile) -> Sizes:
    """A product with more rows than the fused kernel takes unpacks the weight first: k x n in the compute dtype, and the
    fp32 scales where they are quantised too."""
    activations, shape = args[0], args[2]
    rows = activations.numel() // activations.shape[-1]
    if rows <= 64:
        return []
    count = shape[0] * shape[1]
    sizes = [count * activations.element_size()]
    if kwargs.get("absmax_8bit") is not None:
        sizes.insert(0, count // 64 * 4)
    return sizes


def reordered_bytes(operator: str, args: Sequence[Any]) -> int:
    """Bytes of a convolution's input, weight and result, which its kernels may copy into another order.

    The matrix units take images with their channels together; where they lie channel by channel, cuDNN either reorders all three in
    its workspace (its profiles show nchwToNhwc kernels) or takes another kernel. Images that lie as wanted need no copy, and the
    gradient of the weight is then summed in fp32 parts.
    """
    if operator == "aten::convolution_backward":
        result, images, weight = args[:3]
        size = result.numel() * result.element_size()
    else:
        images, weight = args[:2]
        size = prod(result_shape(images.shape, weight.shape, *args[3:9])) * images.element_size()
    if images.dim() == 4 and images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        return int(weight.numel() * 4)
    return int(size + images.numel() * images.element_size() + weight.numel() * weight.element_size())


def result_shape(
    images: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> list[int]:
    """Shape of a convolution's result (torch.nn.Conv2d and ConvTranspose2d give the formulas)."""
    found = [images[0], weight[1] * groups if transposed else weight[0]]
    for place, size in enumerate(images[2:]):

        def of(values: Sequence[int], place: int = place) -> int:
            return values[place] if len(values) > 1 else values[0]

        reach = of(dilation) * (weight[2 + place] - 1)
        if transposed:
            found.append((size - 1) * of(stride) - 2 * of(padding) + reach + of(output_padding) + 1)
        else:
            found.append((size + 2 * of(padding) - reach - 1) // of(stride) + 1)
    return found


RULES: dict[str, Rule] = {
    "aten::_scaled_dot_product_flash_attention_backward": Rule(
        _flash_backward, "source", "aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd"
    ),
    "aten::_scaled_dot_product_efficient_attention_backward": Rule(
        _efficient_backward, "guess", "aten/src/ATen/native/transformers/cuda/mem_eff_attention/kernel_backward.h"
    ),
    "aten::_scaled_dot_product_cudnn_attention_backward": Rule(
        _cudnn_backward, "guess", "cuDNN asks for a workspace; its size is not published"
    ),
    **{
        f"aten::{name}": Rule(_reduction(name), "source", "aten/src/ATen/native/cuda/Reduce.cuh")
        for name in (
            "sum",
            "mean",
            "nansum",
            "amax",
            "amin",
            "any",
            "all",
            "max",
            "min",
            "argmax",
            "argmin",
            "prod",
            "logsumexp",
            "var",
            "std",
            "var_mean",
            "std_mean",
        )
    },
    "aten::linalg_vector_norm": Rule(
        _reduction("linalg_vector_norm", at=2), "source", "aten/src/ATen/native/cuda/Reduce.cuh"
    ),
    "aten::embedding_dense_backward": Rule(
        _sorted_indices(1),
        "guess",
        "aten/src/ATen/native/cuda/Embedding.cu: sorted and original indices, cub's temporaries",
    ),
    "aten::index_put_": Rule(
        _sorted_indices(1), "guess", "aten/src/ATen/native/cuda/Indexing.cu: index_put_with_sort_kernel"
    ),
    "bitsandbytes::gemm_4bit": Rule(
        _bnb_matmul, "source", "bitsandbytes/backends/cuda/ops.py, _gemm_4bit_use_custom_cuda", "bitsandbytes 0.50"
    ),
}

GUESSED = "guessed scratch"
"""how the operator of a storage begins whose size is a guess: whoever prices the trace widens its range by these"""

PRODUCTS = frozenset(
    f"aten::{name}" for name in ("mm", "addmm", "bmm", "baddbmm", "_addmm_activation", "_int_mm", "addmv", "mv", "dot")
)
"""operators that call cuBLAS and so need its workspace"""

CONVOLUTIONS = frozenset({"aten::convolution", "aten::convolution_backward"})


class Scratch:
    """Applies the rules during one trace, for one class of cards.

    setting: the value of CUBLAS_WORKSPACE_CONFIG in the environment, if any.
    """

    def __init__(self, profile: Profile, setting: str | None = None) -> None:
        self.profile = profile
        self.workspace = workspace_bytes(setting) if setting else profile.blas_workspace
        self.used: dict[str, int] = {}
        """largest guess of each operator whose rule is one, in bytes"""
        self.unseen = 0
        """bytes at most of the workspace of a convolution, which the card chooses and this trace does not see"""
        self._warm: set[bool] = set()

    def concerns(self, operator: str) -> bool:
        """Whether there is a rule."""
        return operator in PRODUCTS or operator in RULES or operator in CONVOLUTIONS

    def of(self, operator: str, args: Sequence[Any], kwargs: dict[str, Any]) -> list[tuple[int, bool, str]]:
        """(bytes, whether it stays, name for the views) that this call takes.

        cuBLAS keeps one workspace for each thread that multiplies: the program's, and the one of the autograd engine.
        Recordings of training steps show both.
        """
        first = next((a for a in args if isinstance(a, torch.Tensor)), None)
        if first is None or first.device.type != "cuda":
            return []
        if operator in PRODUCTS:
            in_backward = torch._C._current_graph_task_id() != -1
            if in_backward in self._warm:
                return []
            self._warm.add(in_backward)
            return [(self.workspace, True, "cuBLAS workspace")]
        if operator in CONVOLUTIONS:
            self.unseen = max(self.unseen, reordered_bytes(operator, args))
            return []
        rule = RULES[operator]
        sizes = [size for size in rule.sizes(args, kwargs, self.profile) if size]
        if sizes and rule.provenance == "guess":
            self.used[operator] = max(self.used.get(operator, 0), sum(sizes))
        name = f"{GUESSED} of {operator}" if rule.provenance == "guess" else f"scratch of {operator}"
        return [(size, False, name) for size in sizes]

    @property
    def guessed(self) -> int:
        """Largest scratch that rests on a guess, in bytes."""
        return max(self.used.values(), default=0)

    def notes(self) -> list[str]:
        """What of it is a guess, in words."""
        notes = [
            f"scratch of {operator.removeprefix('aten::')} is a guess, {size / MiB:.0f} MiB at most: {RULES[operator].source}"
            for operator, size in sorted(self.used.items())
            if size >= MiB
        ]
        if self.unseen:
            notes.append(
                f"workspaces of cuDNN convolutions are chosen on the card: none are counted, up to {self.unseen / MiB:,.0f} MiB "
                "(copies in another order) are in the range"
            )
        return notes


def workspace_bytes(setting: str) -> int:
    """Bytes of a CUBLAS_WORKSPACE_CONFIG such as ":4096:2:16:8" (KiB and how many of them, in pairs)."""
    pairs = re.findall(r":(\d+):(\d+)", setting)
    return sum(int(size) * int(count) for size, count in pairs) * 1024
