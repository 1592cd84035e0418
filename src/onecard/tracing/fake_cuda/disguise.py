"""Libraries that look for fake tensors and then do something else than on a card.

transformers builds the whole attention mask where it sees a FakeTensor ("tracing"), and leaves it away on a real card
when nothing is padded. Symptom without this: masks of (tokens, tokens) that no run has, and the memory-efficient kernel
instead of flash, which takes no mask.

torch.distributions checks its arguments by their values, which are unknown. Symptom without this: ValueError: Expected
parameter logits ... to satisfy the constraint.

An encoder layer of PyTorch runs as one operator in evaluation, whose inside no trace can see. Symptom without this: a peak
without the layer's intermediate results. Its plain path, which is traced instead, holds as much or a little more.

DataParallel scatters over cards even where there is one, by functions that only a CUDA build has. Symptom without this:
AttributeError: module 'torch._C' has no attribute '_scatter'.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from torch.backends import mha
from torch.distributions import Distribution
from torch.nn import DataParallel

from onecard.tracing.fake_cuda.patching import replaced


def _on_one_card(self: Any, *inputs: Any, **options: Any) -> Any:
    return self.module(*inputs, **options)


@contextlib.contextmanager
def disguised() -> Iterator[None]:
    """Fake tensors pass for real ones, in transformers if the program has imported it."""
    utilities = sys.modules.get("transformers.utils.import_utils")
    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(Distribution, _validate_args=False))
        stack.enter_context(replaced(DataParallel, forward=_on_one_card))
        stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)
        if utilities is not None and hasattr(utilities, "is_fake_tensor"):
            stack.enter_context(replaced(utilities, is_fake_tensor=lambda tensor: False))
        yield
