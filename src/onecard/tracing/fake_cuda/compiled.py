"""torch.compile and CUDA graphs: neither can be seen in a trace, so both run eagerly, and the result says so.

Symptom without it: BackendCompilerFailed, since inductor allocates real memory on the card.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch._dynamo

from onecard.tracing.fake_cuda.card import Idle
from onecard.tracing.fake_cuda.patching import replaced


class FakeGraph:
    """A captured graph that replays nothing."""

    def replay(self) -> None: ...

    def reset(self) -> None: ...

    def pool(self) -> tuple[int, int]:
        return (0, 0)


@contextlib.contextmanager
def eagerly(note: Callable[[str], None]) -> Iterator[None]:
    """Compiled functions are called as they were written."""

    def compiled(model: Any = None, **options: Any) -> Any:
        note("torch.compile was left out: the trace is of eager code; a compiled step plans its memory otherwise")
        return model if model is not None else lambda function: function

    def module_compile(self: torch.nn.Module, *arguments: Any, **options: Any) -> None:
        compiled(self)

    class Graph(FakeGraph):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            note("CUDA graphs were left out: their private memory pools are not in this trace")

    with (
        replaced(torch, compile=compiled),
        replaced(torch.nn.Module, compile=module_compile),
        replaced(torch._dynamo.config, disable=True) if hasattr(torch._dynamo.config, "disable") else Idle(),
        replaced(torch.cuda, CUDAGraph=Graph, graph=Idle),
    ):
        yield
