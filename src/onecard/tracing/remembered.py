"""What an operator gives on fake tensors, remembered: the same question is answered without asking PyTorch again.

A step calls a few hundred different questions (operator, shapes, strides, types) a hundred thousand times. PyTorch keeps
answers too, but describes each tensor by seventeen properties and checks each answer as if shapes could be symbols: that is two
thirds of the time of a trace. Here a tensor is dtype, shape, stride, offset and device, and everything that is not plain (complex
numbers, sparse layouts, constants, results that depend on values, operators of other libraries) is always asked.

An answer is remembered only where it can be given again exactly: a new tensor with a storage of just its size, one of the
arguments itself, or a view of one.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

_aten = torch.ops.aten

PLAIN = frozenset(
    {
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint64,
        torch.uint32,
        torch.uint16,
        torch.uint8,
        torch.bool,
    }
)
"""dtypes whose tensors have no lazy conjugate or negative, no scale and no zero point"""

SCALARS = frozenset({int, float, bool, str, torch.dtype, torch.device, torch.memory_format, torch.layout, torch.Size})
"""arguments that are told by their type and value"""

ASKED = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view)
"""operators whose result follows from values, or that change what an argument is"""

SHARING = frozenset({_aten._unsafe_view.default, _aten._reshape_alias.default})
"""operators that look at their argument's storage, although their schema does not say so"""

MEMOS = ("_nonzero_memo", "_item_memo", "_unique_memo", "_unique_consecutive_memo", "_nested_int_memo")


class Output(NamedTuple):
    """How to make one result again."""

    argument: int = -1
    """number of the tensor among the arguments that is the result, or whose storage it looks at; -1: a new one"""
    itself: bool = False
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0
    dtype: torch.dtype = torch.float32
    device: torch.device | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    value: int | None = None
    """no tensor but this"""


class Answer(NamedTuple):
    """Results, and what holds several of them."""

    outputs: tuple[Output, ...]
    container: Callable[[list[Any]], Any] | None
    """makes a tuple, a list or a named tuple; None: there is one result, or none"""


class Remembered:
    """Answers of one fake mode."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        self.known: dict[tuple[Any, ...], Answer | None] = {}
        """None: has to be asked each time"""

    def run(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `mode.dispatch` returns."""
        key: list[Any] = [function, torch.get_default_dtype(), torch.is_inference_mode_enabled()]
        tensors: list[FakeTensor] = []
        told = _describe(args, key, tensors, self.mode) and _describe_named(kwargs, key)
        if not told or not (tensors or kwargs.get("device")):
            return self.mode.dispatch(function, types, args, kwargs)
        if _silent(function):
            return None
        question = tuple(key)
        if question in self.known:
            answer = self.known[question]
            if answer is not None:
                return _give(answer, tensors)
            return self.mode.dispatch(function, types, args, kwargs)
        out = self.mode.dispatch(function, types, args, kwargs)
        self.known[question] = _learn(function, tensors, out)
        return out


@cache
def _silent(function: Any) -> bool:
    """A foreach operator that writes into its arguments returns nothing; the fake mode would take it apart, tensor by tensor."""
    schema = getattr(function, "_schema", None)
    return schema is not None and schema.name.startswith("aten::_foreach_") and not schema.returns


def _describe(values: Any, key: list[Any], tensors: list[FakeTensor], mode: FakeTensorMode) -> bool:
    """Adds what a result can depend on; False where something is not plain."""
    for value in values:
        kind = type(value)
        if kind is FakeTensor:
            held = value.__dict__
            dtype = value.dtype
            if dtype not in PLAIN or held["constant"] is not None or held["fake_mode"] is not mode:
                return False
            if value.layout is not torch.strided or value.is_neg():
                return False
            key += (dtype, value.shape, value.stride(), value.storage_offset(), held["_fake_device"])
            tensors.append(value)
        elif value is None:
            key.append(None)
        elif kind in SCALARS:
            key += (kind, value)
        elif kind is list or kind is tuple:
            key += (kind, len(value))
            if not _describe(value, key, tensors, mode):
                return False
        else:
            return False
    return True


def _describe_named(kwargs: dict[str, Any], key: list[Any]) -> bool:
    for name, value in kwargs.items():
        if value is not None and type(value) not in SCALARS:
            return False
        key += (name, type(value), value)
    return True


def _learn(function: Any, tensors: list[FakeTensor], out: Any) -> Answer | None:
    """How to give these results again; None where that would not be exact."""
    if not isinstance(function, torch._ops.OpOverload) or function.namespace != "aten":
        return None
    if any(tag in function.tags for tag in ASKED):
        return None
    if out is None:
        return Answer((), None)
    several = isinstance(out, tuple | list)
    container = getattr(type(out), "_make", type(out)) if several else None
    found: list[Output] = []
    storages = {tensor.untyped_storage()._cdata: number for number, tensor in reversed(list(enumerate(tensors)))}
    for result in out if several else (out,):
        output = _output(function, tensors, storages, result, several)
        if output is None:
            return None
        if output.argument < 0 and output.value is None and result is not None:
            storages[result.untyped_storage()._cdata] = -1  # a second result in the same storage is not plain
        found.append(output)
    answer = Answer(tuple(found), container)
    again = _give(answer, tensors)
    pairs = zip(again, out, strict=True) if several else ((again, out),)
    return answer if all(_alike(one, other) for one, other in pairs) else None


def _output(
    function: Any, tensors: list[FakeTensor], storages: dict[int, int], result: Any, among: bool
) -> Output | None:
    if among and (result is None or type(result) is int):
        return Output(value=result, itself=True)
    if type(result) is not FakeTensor:
        return None
    for number, tensor in enumerate(tensors):
        if tensor is result:
            return Output(argument=number, itself=True)
    held = result.__dict__
    plain = result.dtype in PLAIN and result.layout is torch.strided and not result.requires_grad
    if not plain or held.get("constant") is not None or any(held.get(memo) is not None for memo in MEMOS):
        return None
    argument = storages.get(result.untyped_storage()._cdata)
    if argument is not None and (argument < 0 or not (function.is_view or function in SHARING)):
        return None
    return Output(
        argument=-1 if argument is None else argument,
        shape=tuple(result.shape),
        stride=result.stride(),
        offset=result.storage_offset(),
        dtype=result.dtype,
        device=result.fake_device,
        attributes=tuple(held.items()),
    )


def _give(answer: Answer, tensors: list[FakeTensor]) -> Any:
    if answer.container is None:
        return _tensor(answer.outputs[0], tensors) if answer.outputs else None
    return answer.container([_tensor(output, tensors) for output in answer.outputs])


def _tensor(output: Output, tensors: list[FakeTensor]) -> Any:
    if output.itself:
        return tensors[output.argument] if output.argument >= 0 else output.value
    plain = torch.empty_strided(output.shape, output.stride, dtype=output.dtype, device="meta")
    if output.argument >= 0:
        storage = tensors[output.argument].untyped_storage()
        plain.set_(storage, output.offset, output.shape, output.stride)
    made = torch.Tensor._make_subclass(
        FakeTensor, plain, False, dispatch_device=True, device_for_backend_keys=output.device
    )
    torch._C._set_throw_on_mutable_data_ptr(made)
    made.__dict__.update(output.attributes)
    return made


def _alike(one: Any, other: Any) -> bool:
    """Whether a result that was made again is what PyTorch made."""
    if type(other) is not FakeTensor:
        return bool(one == other)
    return bool(
        one.shape == other.shape
        and one.stride() == other.stride()
        and one.storage_offset() == other.storage_offset()
        and one.untyped_storage().nbytes() == other.untyped_storage().nbytes()
        and torch._C._dispatch_key_set(one) == torch._C._dispatch_key_set(other)
    )
