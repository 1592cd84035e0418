"""Counts the operations of a step: FLOPs, bytes moved and kernels started, gathered into core.cost.Operation rows.

One row holds calls that a card treats alike: same phase, operator, dtype and matrix shape, or, where only bytes count,
the same size within a factor of two; so a pricer can tell a thousand tiny kernels from one large one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from onecard.core.cost import AGAIN, Operation
from onecard.tracing.kernels import COMPUTE, GENERAL, LOOKING, NO_KERNEL, TABLE, Kernel

Row = list[float]
"""[calls, flops, bytes read, bytes written, launches]"""

TENSORS_A_LAUNCH = 100
"""a foreach kernel takes about this many tensors at once (110 for lists of depth 1, 36 for depth 4; the table of
pointers must fit the 4 KiB of kernel arguments: ATen/native/cuda/MultiTensorApply.cuh)"""

BLOCKS_A_LAUNCH = 320 * 65536
"""elements that one launch of a foreach kernel covers: 320 chunks of 65,536 (same file)"""


class Operators:
    """Facts about an operator that do not change from call to call."""

    __slots__ = ("aliases", "foreach", "kernel", "name")

    def __init__(self, function: Any) -> None:
        schema = function._schema
        self.name: str = schema.name
        self.kernel: Kernel = TABLE.get(self.name, GENERAL)
        self.foreach = self.name.startswith(("aten::_foreach", "aten::_fused_adam", "aten::_fused_sgd", "aten::_amp"))
        returns = schema.returns
        # a view returns an alias that nothing writes to: no kernel, no storage
        self.aliases = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


class Counter:
    """Adds up what a trace runs."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.calls = 0

    def add(
        self,
        phase: str,
        facts: Operators,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        out: Any,
        device: str,
        again: bool = False,
    ) -> None:
        """One call. Bytes of a tensor that repeats itself by stride 0 are counted once. again: of a checkpointed forward pass."""
        kernel = facts.kernel
        if facts.name in NO_KERNEL:
            return
        self.calls += 1
        read = written = 0
        dtype: torch.dtype | None = None
        first: torch.Tensor | None = None
        tensors = 0
        crosses = False
        for value in (*args, *kwargs.values()):
            for tensor in _each(value):
                if tensor.device.type != device:
                    crosses = crosses or tensor.dim() > 0
                    continue
                tensors += 1
                read += _bytes(tensor)
                if first is None:
                    first = tensor
                    dtype = tensor.dtype
        elements = 0
        for tensor in _each(out):
            if tensor.device.type != device:
                crosses = True
                continue
            size = _bytes(tensor)
            written += size
            elements += size
            if dtype is None:
                dtype = tensor.dtype
        if first is None and not written:
            return  # the host's own arithmetic
        if facts.name in LOOKING:
            read = written = 0
        launches = kernel.launches
        if facts.foreach:
            lists = max(1, sum(isinstance(a, list | tuple) for a in args))
            count = tensors / lists
            launches = max(1.0, -(-count // TENSORS_A_LAUNCH), (read / lists / 4) // BLOCKS_A_LAUNCH)
            if facts.name.endswith("_"):
                written = written or read // lists
        elif not written and facts.name.endswith("_"):
            written = _bytes(args[0]) if isinstance(args[0], torch.Tensor) else 0
        work = kernel.formula(args, out) if kernel.formula is not None else None
        shape: Any = work.shape if work is not None else (read + written).bit_length()
        key = (phase, facts.name, dtype, shape, crosses, _channels_last(kernel, first), again)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [0, 0, 0, 0, 0]
        row[0] += 1
        row[1] += work.flops if work is not None else 0
        row[2] += read
        row[3] += written
        row[4] += launches

    def operations(
        self, phase: str, since: dict[tuple[Any, ...], Row] | None = None, tf32: bool = False
    ) -> list[Operation]:
        """Rows of a phase, less those of an earlier `snapshot`; the largest first."""
        found = []
        for key, row in self.rows.items():
            if key[0] != phase:
                continue
            before = since.get(key) if since else None
            row = [a - b for a, b in zip(row, before, strict=True)] if before else row
            if row[0] <= 0:
                continue
            _, name, dtype, shape, crosses, turned, again = key
            kernel = TABLE.get(name, GENERAL)
            kind = kernel.kind
            if phase == "optimizer" and kind == "elementwise":
                kind = "optimizer"
            compute = COMPUTE.get(dtype, "")
            if tf32 and compute == "fp32" and kind in ("matmul", "convolution"):
                compute = "tf32"
            found.append(
                Operation(
                    kind="copy" if crosses and kind != "host" else kind,
                    kernel=kernel.library + (AGAIN if again else "") + ("/nhwc" if turned else ""),
                    format=_format(dtype),
                    compute=compute,
                    flops=row[1],
                    read=row[2],
                    written=row[3],
                    launches=row[4],
                    shape=shape if isinstance(shape, tuple) else None,
                    place="link" if crosses else "device",
                    label=name.removeprefix("aten::"),
                )
            )
        return sorted(found, key=lambda o: (-o.flops, -o.bytes))

    def snapshot(self) -> dict[tuple[Any, ...], Row]:
        """The rows as they are now, for `operations(since=...)`."""
        return {key: list(row) for key, row in self.rows.items()}


def _channels_last(kernel: Kernel, images: torch.Tensor | None) -> bool:
    """Whether a convolution's images lie with their channels together, as its kernels want them."""
    if kernel.kind != "convolution" or images is None or images.dim() != 4:
        return False
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def _each(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return (value,)
    if isinstance(value, list | tuple):
        return [v for v in value if isinstance(v, torch.Tensor)]
    return ()


def _bytes(tensor: torch.Tensor) -> int:
    count = tensor.numel()
    if count > 1 and not tensor.is_contiguous():
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            if not stride and size > 1:
                count //= size
    return int(count * tensor.element_size())


def _format(dtype: torch.dtype | None) -> str:
    return _FORMATS.get(dtype, str(dtype).removeprefix("torch.")) if dtype is not None else ""


_FORMATS = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32", torch.uint8: "u8", torch.int8: "i8"}
