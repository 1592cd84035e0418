"""`scaled_dot_product_attention` as the card would run it.

Symptom without it: a build without CUDA kernels always takes the math path, whose score matrix is kept for backward.

The kernel of the operator itself is replaced, not the Python function: calls also come from C++ (autocast, the
recomputation of checkpointed layers inside backward), where function modes are off, and a checkpoint that recomputes by
another kernel than it ran raises CheckpointError.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from onecard.tracing.attention import attend
from onecard.tracing.profiles import Profile


@contextlib.contextmanager
def attention(profile: Profile) -> Iterator[Counter[str]]:
    """Yields how often each kernel was taken."""
    taken: Counter[str] = Counter()

    def kernel(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if query.device.type != "cuda":
            plain = torch.ops.aten._scaled_dot_product_attention_math
            return plain(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)[
                0
            ]
        answer, name = attend(profile, query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        taken[name] += 1
        return answer

    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kernel is replaced is the purpose
            library.impl("scaled_dot_product_attention", kernel, "CompositeImplicitAutograd", allow_override=True)
        yield taken
    finally:
        library._destroy()
