"""The watcher: every operator that PyTorch runs passes through it, on fake tensors (a trace) or real ones (a check).

`Watcher` holds what to do around one call; two thin modes put it into PyTorch's dispatcher. The fake one *is* the fake
mode: an operator enters Python once instead of twice, which halves the time of a trace.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from onecard.tracing import engine
from onecard.tracing.counting import Counter, Operators
from onecard.tracing.phases import Phases
from onecard.tracing.remembered import Remembered
from onecard.tracing.scratch import Scratch
from onecard.tracing.storages import Storages
from onecard.tracing.values import Values

_aten = torch.ops.aten

RESIZING = frozenset(
    {
        _aten.resize_.default,
        _aten.set_.source_Storage,
        _aten.set_.source_Tensor,
        _aten.set_.source_Storage_storage_offset,
        _aten.resize_as_.default,
    }
)
"""operators that give a tensor another storage, or the storage another size"""

QUESTIONS = frozenset({torch.ops.prim.device.default, _aten.detach.default, _aten.is_contiguous.default})
"""operators that are no work"""

_device = torch.ops.prim.device.default

_composites: dict[Any, bool] = {}


def is_composite(function: Any) -> bool:
    """An operator made of others, which a plain run takes apart before any kernel runs. In inference mode PyTorch hands
    it to a mode whole; unless it is taken apart there, what it consists of (the products of a linear layer, attention)
    would not be seen."""
    known = _composites.get(function)
    if known is None:
        key = torch._C.DispatchKey.CompositeImplicitAutograd
        known = isinstance(function, torch._ops.OpOverload) and function.has_kernel_for_dispatch_key(key)
        _composites[function] = known
    return known


Call = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]


class Watcher:
    """What happens around each call of an operator.

    storages: births and deaths.  phases: where the program is.  counter: operations, or None.
    scratch: memory that kernels take for themselves, or None.  values: real values of small tensors, or None.
    correct: run the in-place variants that a plain run would (engine.py); off only to show the difference.
    """

    def __init__(
        self,
        storages: Storages,
        phases: Phases | None = None,
        counter: Counter | None = None,
        scratch: Scratch | None = None,
        values: Values | None = None,
        correct: bool = True,
    ) -> None:
        self.storages = storages
        self.phases = phases
        self.counter = counter
        self.scratch = scratch
        self.values = values
        self.correct = correct
        self.in_place = 0
        """how often an in-place variant was put back"""
        self._facts: dict[Any, Operators] = {}
        self._device = storages.device

    def call(self, run: Call, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs one operator and notes what it did."""
        facts = self._facts.get(function)
        if facts is None:
            facts = self._facts[function] = Operators(function)
        if facts.aliases:
            out = run(function, types, args, kwargs)
            if self.values is not None:
                self.values.after(function, args, kwargs, out)
            return out
        if self.correct and function in engine.IN_PLACE and torch._C._current_graph_task_id() != -1:
            other = engine.in_place(function, args, kwargs)
            if other is not None:
                self.in_place += 1
                function = other
                facts = self._facts.setdefault(function, Operators(function))
        if kwargs.get("generator") is not None:
            kwargs = {**kwargs, "generator": None}
        values = self.values
        if values is not None and values.answers(function, args):
            out = values.answer(run, function, types, args, kwargs)
        else:
            out = self._with_scratch(run, facts, function, types, args, kwargs)
        self._note(function, facts, args, out)
        if self.counter is not None:
            phase, again = (self.phases.phase, self.phases.again) if self.phases is not None else ("", False)
            self.counter.add(phase, facts, args, kwargs, out, self._device, again)
        if values is not None:
            values.after(function, args, kwargs, out)
        return out

    def _with_scratch(
        self, run: Call, facts: Operators, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A kernel takes its scratch once its results exist, and gives it back when it ends; workspaces stay."""
        out = run(function, types, args, kwargs)
        scratch = self.scratch
        if scratch is not None and scratch.concerns(facts.name):
            self._note(function, facts, args, out)
            module = self.phases.module if self.phases is not None else ""
            taken = [
                (self.storages.scratch(size, "workspace", module, name), stays)
                for size, stays, name in scratch.of(facts.name, args, kwargs)
            ]
            for number, stays in reversed(taken):
                if not stays:
                    self.storages.release(number)
        return out

    def _note(self, function: Any, facts: Operators, args: Sequence[Any], out: Any) -> None:
        if isinstance(out, torch.Tensor):
            self._see(out, facts.name)
        elif isinstance(out, list | tuple):
            for tensor in out:
                if isinstance(tensor, torch.Tensor):
                    self._see(tensor, facts.name)
                elif isinstance(tensor, list | tuple):
                    for inner in tensor:
                        if isinstance(inner, torch.Tensor):
                            self._see(inner, facts.name)
        if function in RESIZING:
            self._see(args[0], facts.name)

    def _see(self, tensor: torch.Tensor, operator: str) -> None:
        storages = self.storages
        number = len(storages.sizes)
        phases = self.phases
        if storages.see(tensor, "", "", operator) and phases is not None:
            storages.categories[number] = phases.category
            storages.modules[number] = phases.module


class FakeTrace(FakeTensorMode):
    """The fake mode with a watcher inside."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.watcher = watcher
        self._inside = False
        self._run = Remembered(self).run

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _device and not self.in_kernel_invocation:
            return args[0].fake_device  # asked for each tensor of each foreach optimizer
        if self._inside:  # an operator that the fake mode decomposes: one kernel on a card
            return self.dispatch(func, types, args, kwargs or {})
        if func in QUESTIONS:
            return self._run(func, types, args, kwargs or {})
        if is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        self._inside = True
        try:
            return self.watcher.call(self._run, func, types, args, kwargs or {})
        finally:
            self._inside = False


class RealTrace(TorchDispatchMode):
    """Watches real tensors: what a trace is checked against."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        return self.watcher.call(_run, func, types, args, kwargs or {})


def _run(function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)
