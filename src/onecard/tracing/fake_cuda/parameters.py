"""Parameters and optimizers that meet fake tensors.

- `Module.to("cuda")` swaps the insides of parameters and refuses where something holds a weak reference, which the fake
  mode's memory of its tensors always does:
      RuntimeError: _apply(): Couldn't swap Linear.weight (Cannot swap t1 because it has weakref associated with it)
- Optimizers take their `foreach` and `fused` paths (the defaults on CUDA, with temporaries as large as the gradients)
  only for parameters whose type is exactly Tensor or Parameter; a fake tensor gets the slow loop, and the peak of the
  optimizer step is missed.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from onecard.tracing.fake_cuda.native import NotPatchable
from onecard.tracing.fake_cuda.patching import replaced


def swap_tensors(one: torch.Tensor, other: torch.Tensor) -> None:
    """torch.utils.swap_tensors (2.13) without its refusals: class, attributes, slots and C++ side change places."""
    slots = {s for kind in type(one).__mro__ for s in kind.__dict__.get("__slots__", ())}
    slots = {s for s in slots if hasattr(one, s) and hasattr(other, s)}
    one.__class__, other.__class__ = other.__class__, one.__class__
    mine, theirs = dict(one.__dict__), dict(other.__dict__)
    one.__dict__.clear()
    one.__dict__.update(theirs)
    other.__dict__.clear()
    other.__dict__.update(mine)
    for slot in slots:
        a, b = getattr(one, slot), getattr(other, slot)
        setattr(one, slot, b)
        setattr(other, slot, a)
    torch._C._swap_tensor_impl(one, other)
    if sys._getframe(1).f_code.co_name == "_apply":
        # Module.to goes on to the next parameter with this one in its hands; a real parameter gives its old storage
        # back at once
        other.data = other.data.new_empty(0)


def deepcopied(self: Any, memo: dict[int, Any]) -> Any:
    """copy.deepcopy of a fake tensor, as averaged copies of models need it.

    Symptom without it: RuntimeError: Attempted to set the storage of a tensor on device "meta" to a storage on different
    device "cpu"; and the copy of a parameter is none.
    """
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol at the moment.")
    with torch.no_grad():
        copied: Any = self.detach().clone()
        if getattr(self, "_is_param", False):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        copied.requires_grad_(self.requires_grad)
        if self.grad is not None:
            copied.grad = deepcopied(self.grad, memo)
    memo[id(self)] = copied
    return copied


@contextlib.contextmanager
def movable_parameters() -> Iterator[None]:
    """Module.to, .cuda, .half ... and copy.deepcopy work on fake parameters."""
    with replaced(torch.utils, swap_tensors=swap_tensors), replaced(FakeTensor, __deepcopy__=deepcopied):
        yield


@contextlib.contextmanager
def horizontal_optimizers() -> Iterator[None]:
    """foreach and fused optimizers are chosen for fake parameters as for real ones on CUDA."""
    import torch.optim.optimizer as optimizer
    import torch.utils._foreach_utils as foreach

    lists = {id(c): c for m in (optimizer, foreach) for c in [getattr(m, "_foreach_supported_types", None)] if c}
    if not lists:
        raise NotPatchable("torch.optim has no _foreach_supported_types")
    added = [c for c in lists.values() if FakeTensor not in c]
    for types in added:
        types.append(FakeTensor)
    try:
        yield
    finally:
        for types in added:
            types.remove(FakeTensor)
