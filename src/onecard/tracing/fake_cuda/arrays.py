"""Fake tensors as NumPy arrays, for programs that compute with results on the host (rewards, matchings, metrics).

Symptom without it: RuntimeError: .numpy() is not supported for tensor subclasses. The array holds the values that the trace
knows, else zeros, which are counted as placeholders.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from onecard.tracing.fake_cuda.patching import replaced
from onecard.tracing.values import Values


@contextlib.contextmanager
def arrays(values: Values) -> Iterator[None]:
    """`tensor.numpy()` and `numpy.asarray(tensor)` work for what lies on the CPU."""
    plain = torch.Tensor.numpy

    def numpy(self: Any, *, force: bool = False) -> Any:
        if not isinstance(self, FakeTensor):
            return plain(self, force=force)
        if self.device.type != "cpu" and not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        if self.requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return values.array(self)

    def as_array(self: Any, dtype: Any = None, copy: Any = None) -> Any:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    with replaced(torch.Tensor, numpy=numpy, __array__=as_array):
        yield
