"""Pieces of the host side that have no fake counterpart: random generators and pinned memory.

- `torch.Generator("cuda")`: RuntimeError: Cannot get CUDA generator without ATen_cuda library. A CPU generator stands in for
  it; the values of fake tensors do not matter, and the tracker leaves it away where a kernel would refuse it.
- `pin_memory`: NotImplementedError aten::_pin_memory. Pinned memory is host memory; the tensor itself is returned.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

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

    with (
        replaced(torch, Generator=FakeGenerator),
        replaced(torch.Tensor, pin_memory=pinned, is_pinned=lambda tensor, device=None: False),
    ):
        yield
