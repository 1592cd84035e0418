"""Where a program is: in which phase of a step and in which module, observed by hooks that torch offers.

Phases: `build` until the first module is called; `forward`; `backward` while the engine runs; `optimizer` from the end
of backward to the next call of a module. A step ends with the optimizer's step.

Modules get the names that they have in the model that was called: "model.layers.0.mlp". In backward the node of the
graph that is running knows the module that made it.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.optim import optimizer as optimizers

from onecard.tracing.fake_cuda.patching import replaced
from onecard.tracing.storages import Storages

BUILD, FORWARD, BACKWARD, OPTIMIZER = "build", "forward", "backward", "optimizer"


class Phases:
    """Follows a program through its phases and modules, and tags storages by what they turn out to be."""

    def __init__(self, storages: Storages) -> None:
        self.storages = storages
        self.phase = BUILD
        self.updates: dict[int, int] = {}
        """steps made by each optimizer"""
        self.on_forward: Callable[[], None] | None = None
        """called before each outermost call of a module, once the phase has changed"""
        self.calls = 0
        """outermost calls of modules so far"""
        self.recurrent = False
        """an LSTM, GRU or RNN was called"""
        self._stack: list[str] = []
        self._names: dict[int, str] = {}
        # weak, so that a program that drops its model frees it
        self._roots: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()
        self._optimizers: weakref.WeakValueDictionary[int, torch.optim.Optimizer] = weakref.WeakValueDictionary()
        self._met: dict[int, int] = {}
        self._in_optimizer = 0
        self._in_backward = 0
        self._in_graph = ""
        storages.mark(BUILD)

    def enter(self, phase: str) -> None:
        """The phase changes here."""
        if phase != self.phase:
            self.phase = phase
            self.storages.mark(phase)

    @property
    def category(self) -> str:
        """What a storage that is born now most likely is; `tag` corrects it where something better is known."""
        if self._in_optimizer:
            return "workspace"
        if self._in_backward or self._stack:
            return "activations"
        return "other" if self.phase == BUILD else "inputs"

    @property
    def module(self) -> str:
        """The module that is computing now, "" outside of any."""
        if self._stack:
            return self._stack[-1]
        if self._in_backward:
            node = torch._C._current_autograd_node()
            if node is not None:
                self._in_graph = str(node.metadata.get("module", self._in_graph))
                return self._in_graph
        return ""

    @property
    def again(self) -> bool:
        """Whether a checkpointed part of the forward pass is computed again, in Python, while the engine goes backward."""
        return self._in_backward > 0 and bool(self._stack)

    def tag(self) -> None:
        """Categories of all parameters, gradients and optimizer states that are known now."""
        storages = self.storages
        parameters = {id(p): p for root in self._roots.values() for p in root.parameters()}
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                parameters.update((id(p), p) for p in group["params"])
            for state in optimizer.state.values():
                storages.tag((t for t in _tensors(state)), "optimizer")
        storages.tag((p.grad for p in parameters.values() if p.grad is not None), "gradients")
        storages.tag(parameters.values(), "weights")
        for root in self._roots.values():
            storages.tag(root.buffers(), "weights")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks are in place."""
        handles = [
            hooks.register_module_forward_pre_hook(self._before_module),
            hooks.register_module_forward_hook(self._after_module, always_call=True),
            optimizers.register_optimizer_step_pre_hook(self._before_update),
            optimizers.register_optimizer_step_post_hook(self._after_update),
        ]
        from torch.autograd import graph

        run = graph._engine_run_backward

        def backward(*args: Any, **kwargs: Any) -> Any:
            return self._backward(run, args, kwargs)

        backward.__name__ = "backward_of_the_trace"
        try:
            with (
                replaced(graph, _engine_run_backward=backward),
                replaced(torch.autograd, _engine_run_backward=backward),
            ):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _before_module(self, module: nn.Module, args: Any) -> None:
        name = self._names.get(id(module))
        if isinstance(module, nn.RNNBase):
            self.recurrent = True
        if not self._stack:
            if not self._in_backward:
                self.calls += 1
                self.enter(FORWARD)
                self._meet(module)
                if self.on_forward is not None:
                    self.on_forward()
            name = self._names.get(id(module))
        self._stack.append(name if name is not None else type(module).__name__)

    def _after_module(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._stack:
            return
        name = self._stack.pop()
        if isinstance(output, torch.Tensor) and output.grad_fn is not None:
            output.grad_fn.metadata["module"] = name

    def _meet(self, root: nn.Module) -> None:
        """A model is called: its modules get their names, its parameters are weights."""
        self._met[id(root)] = self._met.get(id(root), 0) + 1
        if id(root) in self._roots and self._met[id(root)] > 2:
            return
        self._roots[id(root)] = root
        for name, module in root.named_modules():
            self._names.setdefault(id(module), name or type(root).__name__)
        self.tag()

    def _backward(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        outer = self._in_backward == 0 and not self._stack
        self._in_backward += 1
        if outer:
            self.enter(BACKWARD)
        try:
            return run(*args, **kwargs)
        finally:
            self._in_backward -= 1
            if outer:
                self.tag()
                self.enter(OPTIMIZER)

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._optimizers.setdefault(id(optimizer), optimizer)
        self._in_optimizer += 1
        self.enter(OPTIMIZER)

    def _after_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._in_optimizer = max(0, self._in_optimizer - 1)
        self.updates[id(optimizer)] = self.updates.get(id(optimizer), 0) + 1
        self.tag()


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)
