"""Operators of CUDA that have no implementation on fake tensors: what they return, by shape.

Symptom without it: NotImplementedError: aten::_use_cudnn_ctc_loss: attempted to run this operator with Meta tensors.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch


def _no(*arguments: Any, **options: Any) -> bool:
    """PyTorch's own kernel is taken: cuDNN's wants targets on the CPU, and MIOpen's another card."""
    return False


def _like_scores(grad: torch.Tensor, scores: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    """The gradient of the scores has their shape."""
    return torch.empty_like(scores)


ANSWERED_NO = (
    "_use_cudnn_ctc_loss",
    "_use_cudnn_ctc_loss.Tensor",
    "_use_miopen_ctc_loss",
    "_use_miopen_ctc_loss.Tensor",
)


@contextlib.contextmanager
def missing_metas() -> Iterator[None]:
    """The table is registered."""
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ANSWERED_NO:
                packet, _, overload = name.partition(".")
                if overload in getattr(getattr(torch.ops.aten, packet, None), "overloads", list)() or not overload:
                    library.impl(name, _no, "Meta", allow_override=True)
            for name in ("_ctc_loss_backward", "_ctc_loss_backward.Tensor"):
                library.impl(name, _like_scores, "Meta", allow_override=True)
        yield
    finally:
        library._destroy()
