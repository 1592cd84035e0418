"""Pieces of the host side that have no fake counterpart: random generators and pinned memory.

- `torch.Generator("cuda")`: RuntimeError: Cannot get CUDA generator without ATen_cuda library. A CPU generator stands in for
  it; the values of fake tensors do not matter, and the tracker leaves it away where a kernel would refuse it.
- `torch.tensor(data, device="cuda")` under inference_mode: Could not run aten::empty_strided with arguments from the CUDA
  backend; that mode leaves out the key by which the copy to the card would reach the fake. Made outside of the mode it works.
- `pin_memory`: NotImplementedError aten::_pin_memory. Pinned memory is host memory; the tensor itself is returned.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._device import _device_constructors

from onecard.tracing.fake_cuda.patching import replaced


class FakeGenerator(torch.Generator):
    """A generator of the CPU that says it is on the card."""

    def __new__(cls, device: Any = "cpu") -> "FakeGenerator":
        made: FakeGenerator = super().__new__(cls, "cpu")
        made.place = torch.device(device)
        return made

    place: torch.device

    @property
    def device(self) -> torch.device:
        return self.place


@contextlib.contextmanager
def host() -> Iterator[None]:
    """Generators and pinned memory work."""

    def pinned(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
        return tensor

    def outside(make: Any) -> Any:
        @functools.wraps(make)
        def made(*arguments: Any, **options: Any) -> Any:
            if not torch.is_inference_mode_enabled():
                return make(*arguments, **options)
            with torch.inference_mode(False), torch.no_grad():
                return make(*arguments, **options)

        return made

    # `with torch.device(...)` keeps a set of the functions that it changes, made once: it must hold the real ones, which
    # ours call, and not ours for the rest of the process.
    _device_constructors()
    with (
        replaced(torch, Generator=FakeGenerator, tensor=outside(torch.tensor), as_tensor=outside(torch.as_tensor)),
        replaced(torch.Tensor, pin_memory=pinned, is_pinned=lambda tensor, device=None: False),
    ):
        yield
