"""Real values beside small fake tensors, for programs that look at what they compute.

A fake tensor has no values, so `.item()`, `if tensor:`, `nonzero`, boolean indexing stop a trace. Most of what programs
read is small and follows from what they made themselves: lengths, positions, masks, step counters, whether all sequences
are finished. Such operators run twice: on the fake tensor, and for real on the CPU beside it.

Where a value depends on data that does not exist (a loss, a sampled token), a placeholder stands in: 0 for integers and
booleans, 1.0 for a number; a number is finite, and a check whether something holds for all numbers of a tensor passes.
What follows from a placeholder is known to be imagined: it still steers loops, but never says how many elements a mask
selects. A constant answer to every question would not do: False makes `generate` run for ever, True ends it at once.
Every use of a placeholder is counted and told.
"""

import math
from collections import Counter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

_aten = torch.ops.aten

ITEM = _aten._local_scalar_dense.default
EQUAL = _aten.equal.default

MOST_INTEGERS = 65536
"""elements up to which integer and boolean tensors keep their values"""
MOST_NUMBERS = 16
"""elements up to which floating-point tensors do"""
MOST_CONSTANTS = 16384
"""elements up to which they do where all that they are made of is known: masks that a program builds of zeros and ones"""

INTEGERS = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})

SHAPED_BY_VALUES = frozenset(
    {
        _aten.nonzero.default,
        _aten._unique2.default,
        _aten.unique_consecutive.default,
        _aten.unique_dim.default,
        _aten.masked_select.default,
        _aten.bincount.default,
        _aten.repeat_interleave.Tensor,
        _aten._ctc_loss.Tensor,
    }
)
"""operators whose result has a size that depends on values"""


TOPK = _aten.topk.default

ALL = frozenset({_aten.all.default, _aten.all.dim, _aten.all.dims})

MOST_CHOSEN = 32
"""experts that a token goes to; a detector takes hundreds of queries"""
MOST_EXPERTS = 512
"""among how many topk chooses experts; more are tokens of a vocabulary, or queries of a detector"""

UNWRITTEN = frozenset(
    {_aten.empty.memory_format, _aten.empty_strided.default, _aten.empty_like.default, _aten.new_empty.default}
)
"""operators whose result nobody has written yet"""

OVERWRITING = frozenset({_aten.copy_.default, _aten.fill_.Scalar, _aten.zero_.default, _aten.fill_.Tensor})
"""operators that do not care what was there before"""


class _Unknown(Exception):
    """A value that nobody knows."""


class Values:
    """The real values of small tensors of one trace.

    unknown: share of elements that a mask or condition without known values selects: 1.0 is the worst case.
    routing: which experts a token gets (the indices of topk): balanced, all equally often; worst, all tokens the same.
    """

    def __init__(self, unknown: float = 1.0, routing: str = "balanced") -> None:
        self.unknown = unknown
        self.routing = routing
        self.routed = 0
        """how often tokens were sent to experts by `routing` instead of by what they are"""
        self.placeholders: Counter[str] = Counter()
        """how often an unknown value was answered, by what asked"""
        self._known = WeakTensorKeyDictionary()
        self._imagined = WeakTensorKeyDictionary()
        """tensors whose known value rests on a placeholder"""
        self._blank = WeakTensorKeyDictionary()
        """booleans that say something of numbers which nobody knows"""
        self._doubt = False

    def answers(self, function: Any, args: tuple[Any, ...]) -> bool:
        """Whether this operator needs values."""
        if function is ITEM or function is EQUAL or function in SHAPED_BY_VALUES:
            return isinstance(args[0], FakeTensor)
        return function is _aten.index.Tensor and any(_is_mask(i) for i in args[1])

    def answer(self, run: Any, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What such an operator returns."""
        if function is ITEM:
            return self.item(args[0])
        if function is EQUAL:
            return self._equal(*args)
        if function is _aten.index.Tensor:
            indices: list[Any] = []
            for index in args[1]:
                if _is_mask(index):
                    places = self._shaped(run, types, _aten.nonzero.default, (index,), {})
                    indices += [places.select(1, d) for d in range(index.dim())]
                else:
                    indices.append(index)
            return run(function, types, (args[0], indices), kwargs)
        return self._shaped(run, types, function, args, kwargs)

    def item(self, tensor: torch.Tensor) -> Any:
        """The value of a tensor with one element."""
        real = self._known.get(tensor)
        if real is None and isinstance(tensor, FakeTensor):
            real = tensor.constant
        if tensor in self._imagined or real is None:
            self.placeholders["item"] += 1
        if real is not None:
            with _disable_current_modes():
                return real.item()
        if tensor.dtype == torch.bool:
            return False
        return 1.0 if tensor.dtype.is_floating_point else 1

    def _equal(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """torch.equal; tensors with values that nobody knows differ."""
        if one is other or one.shape != other.shape:
            return one is other
        try:
            return bool(self._run(EQUAL, (one, other), {}))
        except Exception:
            self.placeholders["equal"] += 1
            return False

    def array(self, tensor: torch.Tensor) -> Any:
        """The values of a tensor as a NumPy array; zeros where nobody knows them."""
        real = self._known.get(tensor)
        if real is None and isinstance(tensor, FakeTensor):
            real = tensor.constant
        if real is None or tensor in self._imagined:
            self.placeholders["numpy"] += 1
        with _disable_current_modes():
            if real is None:
                real = torch.zeros(tuple(tensor.shape), dtype=tensor.dtype)
            return real.detach().clone().numpy()

    def lengths(self, tensor: torch.Tensor, most: int) -> list[int]:
        """Whole numbers that say how much there is of something; `most` of it where nobody knows."""
        real = self._known.get(tensor)
        if real is None:
            real = tensor.constant if isinstance(tensor, FakeTensor) else tensor
        if real is None or tensor in self._imagined:
            self.placeholders["lengths"] += 1
            return [most] * tensor.numel()
        with _disable_current_modes():
            return [int(n) for n in real.tolist()]

    def _constant(self, function: Any, args: tuple[Any, ...]) -> bool:
        """Whether an operator on numbers makes them of known ones."""
        if function in UNWRITTEN:
            return False
        for value in args:
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if isinstance(tensor, FakeTensor) and tensor.constant is None and tensor not in self._known:
                    return function in OVERWRITING and tensor is args[0] and len(args) == 2
        return True

    def after(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Keeps the values of a result up to date, where it is small enough."""
        if isinstance(out, torch.Tensor):
            if out.numel() > MOST_INTEGERS:
                return
            if out.dtype not in INTEGERS and out.numel() > MOST_NUMBERS:
                if out.numel() > MOST_CONSTANTS:
                    return
                if not self._constant(function, args):
                    if function._schema.is_mutable:
                        self._known.pop(out, None)
                    return
            outs = [out]
        elif out is None or isinstance(out, list | tuple):
            outs = [o for o in tree_iter(out) if isinstance(o, torch.Tensor)]
            if not outs:
                if out is None and function._schema.is_mutable:
                    self._in_place(function, args, kwargs)
                return
            if not any(_small(o) for o in outs):
                return
        else:
            return
        if function in OVERWRITING and args[0] not in self._known and isinstance(args[0], FakeTensor):
            with _disable_current_modes():
                self._known[args[0]] = torch.zeros(tuple(args[0].shape), dtype=args[0].dtype)
        try:
            if torch.Tag.nondeterministic_seeded in function.tags:
                raise _Unknown  # another run would throw other dice
            real = self._run(function, args, kwargs)
        except Exception:  # whatever the CPU kernel dislikes, the value is unknown
            reals: list[Any] = []
        else:
            reals = [r for r in tree_iter(real) if isinstance(r, torch.Tensor)]
        for i, tensor in enumerate(outs):
            if not _small(tensor) or not isinstance(tensor, FakeTensor):
                continue
            if i < len(reals) and reals[i].shape == tensor.shape:
                real = reals[i]
                if self._doubt and tensor.dtype == torch.bool and any(a in self._blank for a in _fakes(args)):
                    if function in ALL:
                        with _disable_current_modes():
                            real = torch.ones_like(real)
                    else:
                        self._blank[tensor] = True
                self._learn(tensor, real, self._doubt)
            elif function is TOPK and i == 1 and _choices(args) <= MOST_EXPERTS and args[1] <= MOST_CHOSEN:
                self.routed += 1
                self._learn(tensor, self._routes(tensor, args), False)
            elif tensor.dtype in INTEGERS:
                make = torch.ones if _holds_if_finite(function, args) else torch.zeros
                with _disable_current_modes():
                    self._learn(tensor, make(tuple(tensor.shape), dtype=tensor.dtype), True)
                if tensor.dtype == torch.bool and any(a.dtype.is_floating_point for a in _fakes(args)):
                    if function in ALL:
                        self._known[tensor].fill_(True)
                    else:
                        self._blank[tensor] = True
            else:
                self._known.pop(tensor, None)

    def _learn(self, tensor: torch.Tensor, real: torch.Tensor, imagined: bool) -> None:
        self._known[tensor] = real
        if imagined:
            self._imagined[tensor] = True
        else:
            self._imagined.pop(tensor, None)

    def _routes(self, chosen: torch.Tensor, args: tuple[Any, ...]) -> torch.Tensor:
        """Indices of the largest: for every row the next ones in turn, or the first ones for all."""
        choices = _choices(args)
        with _disable_current_modes():
            if self.routing == "worst":
                return torch.arange(chosen.shape[-1]).expand(tuple(chosen.shape)).clone()
            return (torch.arange(chosen.numel()) % choices).reshape(tuple(chosen.shape))

    def _in_place(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """foreach operators return nothing and change their arguments."""
        changed = [a for a in tree_iter(args) if isinstance(a, torch.Tensor)]
        if not changed:
            return
        if not all(_small(t) for t in changed):
            for tensor in args[0] if isinstance(args[0], list | tuple) else ():
                if tensor.numel() <= MOST_CONSTANTS:
                    self._known.pop(tensor, None)
            return
        try:
            self._run(function, args, kwargs)
        except Exception:
            for tensor in changed:
                self._known.pop(tensor, None)

    def _run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._doubt = False
        real_args = tree_map(self._real, args)
        real_kwargs = {k: self._real(v) for k, v in kwargs.items() if k != "pin_memory"}
        with _disable_current_modes():
            return function(*real_args, **real_kwargs)

    def _real(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            known = self._known.get(value)
            if known is not None:
                self._doubt = self._doubt or value in self._imagined
                return known
            if isinstance(value, FakeTensor):
                if value.constant is None:
                    raise _Unknown
                return value.constant
            if value.device.type != "cpu":
                raise _Unknown
            return value
        if isinstance(value, torch.device):
            return torch.device("cpu")
        return value

    def _shaped(self, run: Any, types: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operator whose result has a size that depends on values: real ones, or the share `unknown`."""
        given = args[0]
        try:
            real = self._run(function, args, kwargs)
            if self._doubt:
                raise _Unknown
        except Exception:
            self.placeholders[function._schema.name.removeprefix("aten::")] += 1
            with _disable_current_modes():
                real = self._guess(function, args)

        def fake(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            made = run(
                _aten.empty.memory_format,
                types,
                (list(value.shape),),
                {"dtype": value.dtype, "device": given.device, "pin_memory": False},
            )
            if _small(made):
                self._learn(made, value, False)
            return made

        return tree_map(fake, real)

    def _guess(self, function: Any, args: tuple[Any, ...]) -> Any:
        given = args[0]
        count = max(1, round(given.numel() * self.unknown)) if given.numel() else 0
        if function is _aten.nonzero.default:
            return torch.zeros(count, given.dim(), dtype=torch.int64)
        if function is _aten.masked_select.default:
            return torch.zeros(count, dtype=given.dtype)
        if function is _aten.repeat_interleave.Tensor:
            return torch.zeros(count, dtype=torch.int64)
        if function is _aten.bincount.default:
            least = args[2] if len(args) > 2 else 0
            return torch.zeros(max(int(least), 1), dtype=torch.int64)
        if function is _aten._ctc_loss.Tensor:
            # the loss of each sequence, and log alpha: (batch, time, 2 x longest target + 1)
            time, batch = given.shape[0], given.shape[1]
            lengths = self._known.get(args[3])
            longest = int(lengths.max()) if lengths is not None else args[1].shape[-1]
            return torch.zeros(batch), torch.zeros(batch, time, 2 * longest + 1)
        values = torch.zeros(count, dtype=given.dtype)
        places = torch.zeros(given.shape, dtype=torch.int64)
        return values, places, torch.ones(count, dtype=torch.int64)


def _fakes(args: tuple[Any, ...]) -> list[FakeTensor]:
    return [a for a in args if isinstance(a, FakeTensor)]


def _holds_if_finite(function: Any, args: tuple[Any, ...]) -> bool:
    """x == x and x != inf, of which `isfinite` consists."""
    if function is _aten.eq.Tensor:
        return args[0] is args[1]
    return function is _aten.ne.Scalar and isinstance(args[1], float) and math.isinf(args[1])


def _choices(args: tuple[Any, ...]) -> int:
    """Among how many topk chooses."""
    return int(args[0].shape[args[2] if len(args) > 2 else -1])


def _small(tensor: torch.Tensor) -> bool:
    return bool(tensor.numel() <= (MOST_INTEGERS if tensor.dtype in INTEGERS else MOST_CONSTANTS))


def _is_mask(index: Any) -> bool:
    return isinstance(index, FakeTensor) and index.dtype in (torch.bool, torch.uint8)
