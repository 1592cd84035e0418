"""What the autograd engine does differently because somebody watches, and how it is put right.

`isTensorSubclassLike` in C++ is true for every tensor while a dispatch mode is active, so some backward code takes an
out-of-place variant that a plain run never takes; each costs a tensor too many at the very moment of the peak:

- gradients that meet in one node (every residual connection) are summed by `add` instead of `add_`
  (`InputBuffer::accumulate`, torch/csrc/autograd/input_buffer.cpp);
- the backward of indexing, of max/min/sort with indices, and of gather writes into a copy of the zeros that it made
  (`index_backward`, `value_selecting_reduction_backward`, `gather_backward` .. in FunctionsManual.cpp);
- binary cross entropy with logits subtracts and multiplies in place.

Not put right: the mask that plain math attention adds to its scores in the forward pass (one score matrix too many).

The mode runs the in-place variant itself, where the engine is the caller, the result would have the same shape and
dtype, and nobody else owns the storage: exactly the conditions of the C++ code.
"""

import sys
from types import FrameType
from typing import Any

import torch

_aten = torch.ops.aten

ADD = _aten.add.Tensor
IN_PLACE = {
    ADD: _aten.add_.Tensor,
    _aten.index_put.default: _aten.index_put_.default,
    _aten.scatter.src: _aten.scatter_.src,
    _aten.scatter.value: _aten.scatter_.value,
    _aten.scatter_add.default: _aten.scatter_add_.default,
    _aten.index_add.default: _aten.index_add_.default,
}

ONLY_IN = {_aten.sub.Tensor: "BinaryCrossEntropyWithLogits", _aten.mul.Tensor: "BinaryCrossEntropyWithLogits"}
"""operators that are mostly meant as they are, and in-place variants in the backward of one function only"""

IN_PLACE |= {_aten.sub.Tensor: _aten.sub_.Tensor, _aten.mul.Tensor: _aten.mul_.Tensor}

OWNERS = 2
"""the tensor in the engine's hands and the Python object that we look at it through"""

_WRAPPERS = frozenset({"_fn", "inner", "__torch_dispatch__", "dispatch"})


def in_place(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The in-place operator that a plain run would have used here, or None."""
    node = ONLY_IN.get(function)
    if node is not None:
        running = torch._C._current_autograd_node()
        if running is None or not running.name().startswith(node):
            return None
    if torch.is_grad_enabled() or not _called_by_engine(sys._getframe(2)):
        return None
    target = args[0]
    if function is ADD or node is not None:
        other = args[1]
        if kwargs or not isinstance(other, torch.Tensor) or target.shape != other.shape or target.dtype != other.dtype:
            return None
        if not (target.is_contiguous() or _dense(target)):
            return None
    if torch._C._storage_Use_Count(target.untyped_storage()._cdata) != OWNERS:
        return None
    return IN_PLACE[function]


def _called_by_engine(frame: FrameType | None) -> bool:
    """Whether C++ backward code made this call: no Python frame lies between it and the engine."""
    while frame is not None and frame.f_code.co_name in _WRAPPERS:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "_engine_run_backward"


def _dense(tensor: torch.Tensor) -> bool:
    """Non-overlapping and dense: some order of its dimensions is contiguous."""
    expected = 1
    for stride, size in sorted((st, sz) for st, sz in zip(tensor.stride(), tensor.shape, strict=True) if sz != 1):
        if stride != expected:
            return False
        expected *= size
    return True
