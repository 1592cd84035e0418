"""Images that lie channels last stay so through convolutions.

A PyTorch without CUDA asks its own (missing) cuDNN which layout a convolution's result has, and answers: contiguous. On
a card the result is channels last as soon as the images or the weight are; all that follows (copies, kernels, speed)
depends on it. Rule: `cudnn_conv_suggest_memory_format` in aten/src/ATen/native/ConvUtils.h.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch._prims_common import suggest_memory_format

Determine = Callable[[Any, Any, Any], torch.memory_format]


def backend_layout(original: Determine) -> Determine:
    """`torch._C._conv_determine_backend_memory_format` as it answers with cuDNN."""

    def determine(images: torch.Tensor, weight: torch.Tensor, backend: Any) -> torch.memory_format:
        if images.dtype != torch.float64 and images.dim() == 4:
            for tensor in (images, weight):
                if suggest_memory_format(tensor) == torch.channels_last:
                    return torch.channels_last
        return original(images, weight, backend)

    return determine
