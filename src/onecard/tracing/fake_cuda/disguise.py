"""Libraries that look for fake tensors and then do something else than on a card.

transformers builds the whole attention mask where it sees a FakeTensor ("tracing"), and leaves it away on a real card
when nothing is padded. Symptom without this: masks of (tokens, tokens) that no run has, and the memory-efficient kernel
instead of flash, which takes no mask.
"""

import contextlib
import sys
from collections.abc import Iterator

from onecard.tracing.fake_cuda.patching import replaced


@contextlib.contextmanager
def disguised() -> Iterator[None]:
    """Fake tensors pass for real ones, in transformers if the program has imported it."""
    utilities = sys.modules.get("transformers.utils.import_utils")
    with contextlib.ExitStack() as stack:
        if utilities is not None and hasattr(utilities, "is_fake_tensor"):
            stack.enter_context(replaced(utilities, is_fake_tensor=lambda tensor: False))
        yield
