"""TRL's loss, whose Triton kernels no fake tensor can pass through.

Symptom without it: where PyTorch has no Triton (builds for the CPU) the loss is folded by plain operators, seven fp32 tensors as large
as a tile of the logits, and a fine-tuning step of a small model seems to need a quarter more; where it has, a kernel is
started on tensors without an address. Written for trl.kernels.chunked_logprob of 1.16.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from onecard.tracing.fake_cuda.patching import replaced

MODULE = "trl.kernels.chunked_logprob"
NAMES = ("_forward_tile", "_backward_tile", "_use_triton")


@contextlib.contextmanager
def folded_loss(note: Callable[[str], None]) -> Iterator[None]:
    """A tile is folded as by one kernel in place: it is read and written once, and nothing is allocated."""
    module = None
    if "trl" in sys.modules:
        with contextlib.suppress(ImportError):  # before 1.x there is none: all logits exist at once
            module = importlib.import_module(MODULE)
    if module is None:
        yield
        return
    if not all(hasattr(module, name) for name in NAMES):
        note("TRL's loss was traced as plain operators: its kernels were changed since they were read")
        yield
        return

    def fold(tile: Any, *arguments: Any, **options: Any) -> None:
        tile.mul_(1.0)

    with replaced(module, _forward_tile=fold, _backward_tile=fold, _use_triton=lambda device: False):
        yield
