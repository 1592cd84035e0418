"""bitsandbytes on fake tensors: 4-bit and 8-bit layers, 8-bit and paged optimizers.

- Its weights are tensor subclasses made by `_make_subclass`, which a fake tensor refuses:
      RuntimeError: ... raw Tensor object is already associated to a python object of type FakeTensor
  The layers get a plain parameter with the same attributes and are quantised when they come to the card, by the
  library's own functions; its operators have fakes, so layout (packed nf4, absmax, double quantisation) is its own.
- Paged optimizers take cudaMallocManaged memory (`cget_managed_ptr` does not exist in a CPU build). It lies outside the
  caching allocator: counted apart as `Storages.managed`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from onecard.tracing.fake_cuda.patching import replaced
from onecard.tracing.storages import Storages


@contextlib.contextmanager
def quantized(storages: Storages) -> Iterator[None]:
    """Patches bitsandbytes if the program has it (it must have been imported before CUDA was faked)."""
    bnb = sys.modules.get("bitsandbytes")
    if bnb is None:
        yield
        return
    import bitsandbytes.nn.modules as modules

    four, eight = layers(bnb)
    functional: Any = bnb.functional
    with (
        replaced(modules, Linear4bit=four, Linear8bitLt=eight, Params4bit=Params4bit),
        replaced(bnb.nn, Linear4bit=four, Linear8bitLt=eight, Params4bit=Params4bit),
        replaced(functional, get_paged=paged(storages), prefetch_tensor=_nothing, fill=_nothing),
        replaced(functional.GlobalPageManager, prefetch_all=_nothing),
        _own_tables(),
    ):
        yield


@contextlib.contextmanager
def _own_tables() -> Iterator[None]:
    """It keeps tables of codes by device for as long as the process lives: fake ones must not meet what is real afterwards."""
    utils, functional = (sys.modules.get(f"bitsandbytes.{name}") for name in ("backends.utils", "functional"))
    tables: list[dict[Any, Any]] = [getattr(utils, "_code_4bit_cache", {}), getattr(functional, "name2qmap", {})]
    before = [dict(table) for table in tables]
    for table in tables:
        table.clear()
    try:
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)


class _Parameters(type):
    """Any parameter that carries a quantised state, or will, is an instance."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, nn.Parameter) and hasattr(value, "bnb_quantized")


class Params4bit(metaclass=_Parameters):
    """Stands for bitsandbytes.nn.Params4bit: a plain parameter, quantised when its layer comes to the card."""

    def __new__(
        cls,
        data: torch.Tensor,
        requires_grad: bool = False,
        compress_statistics: bool = True,
        quant_type: str = "fp4",
        **more: Any,
    ) -> Any:
        parameter: Any = nn.Parameter(data, requires_grad=False)
        parameter.compress_statistics, parameter.quant_type = compress_statistics, quant_type
        parameter.quant_state, parameter.bnb_quantized = more.get("quant_state"), False
        module = more.get("module")
        parameter.to = lambda *where, **how: _packed(parameter, "to", where, how, module)
        parameter.cuda = lambda *where, **how: _packed(parameter, "cuda", where, how, module)
        return parameter


def _packed(given: Any, move: str, where: tuple[Any, ...], how: dict[str, Any], module: Any) -> Any:
    """What a 4-bit parameter becomes when it comes to the card by itself: the whole matrix is free then."""
    data = getattr(given.data, move)(*where, **how)
    _let_go(given)
    if getattr(given, "in_layer", False):
        return data  # its layer comes along and quantises it
    if data.device.type != "cuda" or given.quant_state is not None:
        return nn.Parameter(data, requires_grad=False)
    packed, state = sys.modules["bitsandbytes"].functional.quantize_4bit(
        data, compress_statistics=given.compress_statistics, quant_type=given.quant_type
    )
    parameter: Any = nn.Parameter(packed, requires_grad=False)
    parameter.compress_statistics, parameter.quant_type = given.compress_statistics, given.quant_type
    parameter.quant_state, parameter.bnb_quantized = state, True
    if module is not None:
        module.quant_state = state
    return parameter


def _let_go(parameter: Any) -> None:
    """Its own ways to the card hold a parameter in a circle, in which it would outlive its last use."""
    for name in ("to", "cuda"):
        parameter.__dict__.pop(name, None)


def _nothing(*arguments: Any, **options: Any) -> None: ...


def paged(storages: Storages) -> Callable[..., torch.Tensor]:
    """bitsandbytes.functional.get_paged: a tensor that the allocator never sees."""

    def get_paged(*shape: int, dtype: torch.dtype = torch.float32, device: Any = "cuda") -> torch.Tensor:
        watched, storages.device = storages.device, "managed"
        try:
            made = torch.zeros(*shape, dtype=dtype, device="cuda")
        finally:
            storages.device = watched
        made.is_paged, made.page_deviceid = True, 0
        storages.managed += made.numel() * made.element_size()
        return made

    return get_paged


def layers(bnb: Any) -> tuple[type[nn.Module], type[nn.Module]]:
    """Linear4bit and Linear8bitLt that quantise plain parameters."""

    class Linear4bit(bnb.nn.Linear4bit):
        """As bitsandbytes' own, with a plain parameter."""

        weight: Any

        def __init__(
            self,
            input_features: int,
            output_features: int,
            bias: bool = True,
            compute_dtype: torch.dtype | None = None,
            compress_statistics: bool = True,
            quant_type: str = "fp4",
            quant_storage: torch.dtype = torch.uint8,
            device: Any = None,
        ) -> None:
            nn.Linear.__init__(self, input_features, output_features, bias, device)
            self.compute_dtype = compute_dtype
            self.compute_type_is_set = compute_dtype is not None
            self.quant_storage = quant_storage
            self.quant_state = None
            self._kind = (compress_statistics, quant_type)
            self._quantize()

        def _quantize(self) -> None:
            if self.weight.device.type == "cuda" and self.quant_state is None:
                double, kind = self._kind
                packed, self.quant_state = bnb.functional.quantize_4bit(
                    self.weight.data, compress_statistics=double, quant_type=kind, quant_storage=self.quant_storage
                )
                _let_go(self.weight)
                self.weight = nn.Parameter(packed, requires_grad=False)
            self.weight.compress_statistics, self.weight.quant_type = self._kind
            self.weight.quant_state = self.quant_state
            self.weight.bnb_quantized = self.quant_state is not None

        def _apply(self, function: Any, recurse: bool = True) -> Any:
            self.weight.in_layer = True
            nn.Module._apply(self, function, recurse)
            self._quantize()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = x.dtype
            compute = self.compute_dtype or given
            bias = None if self.bias is None else self.bias.to(compute)
            out: torch.Tensor = bnb.matmul_4bit(x.to(compute), self.weight.t(), bias=bias, quant_state=self.quant_state)
            return out.to(given)

    class Linear8bitLt(bnb.nn.Linear8bitLt):
        """As bitsandbytes' own, with a plain parameter."""

        weight: Any

        def __init__(
            self,
            input_features: int,
            output_features: int,
            bias: bool = True,
            has_fp16_weights: bool = True,
            threshold: float = 0.0,
            index: Any = None,
            device: Any = None,
        ) -> None:
            nn.Linear.__init__(self, input_features, output_features, bias, device)
            self.state = bnb.MatmulLtState()
            self.state.threshold = threshold
            self.state.has_fp16_weights = has_fp16_weights
            self.index = index
            self._quantize()

        def _quantize(self) -> None:
            if self.weight.device.type == "cuda" and self.state.CB is None and not self.state.has_fp16_weights:
                self.state.CB, self.state.SCB, _ = bnb.functional.int8_vectorwise_quant(self.weight.data.half())
                self.weight = nn.Parameter(self.state.CB, requires_grad=False)
                self.weight.CB, self.weight.SCB = self.state.CB, self.state.SCB
            self.weight.has_fp16_weights = self.state.has_fp16_weights

        def _apply(self, function: Any, recurse: bool = True) -> Any:
            nn.Module._apply(self, function, recurse)
            self._quantize()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.state.is_training = self.training
            out: torch.Tensor = bnb.matmul(x, self.weight, bias=self.bias, state=self.state)
            return out

    return Linear4bit, Linear8bitLt
