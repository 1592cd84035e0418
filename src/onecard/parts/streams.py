"""Weights as an engine streams them: groups of matrices alike in shape, format, role and place.

The embedding table is looked up, not streamed, unless it is also the head (tied): then all of it is read for every
step. Norms and biases are thousands of times smaller than matrices and are counted with the elementwise work.
"""

import re
from itertools import accumulate
from typing import NamedTuple

from onecard.core.model import Model
from onecard.parts.memo import per_model
from onecard.parts.mixes import MIXES, alike, types_alike
from onecard.parts.operations import Weight
from onecard.parts.quantized import awq_bytes, gptq_bytes, int8_bytes, nf4_bytes, tensor_bytes
from onecard.parts.transformer import Tensor

BYTES = {"f32": 4.0, "fp32": 4.0, "f16": 2.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0}
_KEPT = ("output", "embedding", "router")
_SMALL = ("norm", "bias", "position")


@per_model
def streams(model: Model, engine: str, quant: str, gpu_layers: int | None = None) -> tuple[Weight, ...]:
    """Groups of streamed matrices. gpu_layers: layers on the device, from the last; None for all and the head."""
    found: list[Weight] = []
    first = 0 if gpu_layers is None or gpu_layers > model.layers else model.layers - gpu_layers
    for (n, k, format, role), group in _groups(model, engine, quant).items():
        whole, on_host = group.upto(model.layers), _NOTHING
        if gpu_layers is not None and gpu_layers <= model.layers:
            on_host = whole if role == "head" else group.upto(first)
        for place, count, size in (
            ("host", *on_host),
            ("device", whole[0] - on_host[0], whole[1] - on_host[1]),
        ):
            if count:
                found.append(Weight(n=n, k=k, count=count, format=format, bytes=size, role=role, place=place))
    return tuple(found)


_NOTHING = (0.0, 0.0)


class _Group(NamedTuple):
    """Matrices of one kind, as running sums over the layers: [i] holds the layers before i, the last all of them."""

    counts: tuple[float, ...]
    bytes: tuple[float, ...]

    def upto(self, layer: int) -> tuple[float, float]:
        """Matrices and bytes of the layers before this one."""
        return self.counts[layer], self.bytes[layer]


@per_model
def _groups(model: Model, engine: str, quant: str) -> dict[tuple[int, int, str, str], _Group]:
    """(outputs, inputs, format, role) -> its matrices layer by layer, wherever they are placed."""
    found = alike(model)
    mixed = engine == "llama.cpp" and quant.lower() in MIXES
    every = types_alike(model, quant.lower()) if mixed else ("",) * len(found)
    groups: dict[tuple[int, int, str, str], tuple[list[float], list[float]]] = {}
    tied = not any(group.tensors[0].role == "output" for group in found)
    for group, types in zip(found, every, strict=True):
        one, shape = group.tensors[0], group.tensors[0].shape
        head = one.role == "output" or (tied and one.role == "embedding")
        if len(shape) < 2 or one.role in _SMALL or (one.role == "embedding" and not head):
            continue
        k, n = shape[0], shape[1]
        count = shape[2] if len(shape) > 2 else 1
        role = "head" if head else "expert" if one.role == "expert" else "body"
        plain = None if types else _stored(one, quant, head, k, n, count)
        for tensor, type in group.typed(types):
            format, size = plain or (type, float(tensor_bytes(type, shape)))
            key = (n, k, format, role)
            if key not in groups:
                groups[key] = ([0.0] * model.layers, [0.0] * model.layers)
            counts, sizes = groups[key]
            if group.everywhere and isinstance(types, str):
                groups[key] = ([c + count for c in counts], [s + size for s in sizes])
                break
            layer = tensor.layer or 0
            layer = layer if layer < model.layers else model.layers - 1
            counts[layer] += count
            sizes[layer] += size
    return {
        (n, k, format.lower(), role): _Group((0.0, *accumulate(counts)), (0.0, *accumulate(sizes)))
        for (n, k, format, role), (counts, sizes) in groups.items()
    }


def _stored(tensor: Tensor, quant: str, head: bool, k: int, n: int, count: int) -> tuple[str, float]:
    """Format and bytes outside GGUF: the head, and small matrices that converters leave alone, stay 16-bit."""
    name = quant.lower()
    if name.endswith("-fp32") and not (head or tensor.role in _KEPT):
        return name, float(gptq_bytes(k, n)) * count
    elements = float(k) * n * count
    everything = name.startswith(("exl2", "int4wo", "int8wo", "int8-", "mlc"))
    if name in BYTES or ((head or tensor.role in _KEPT) and not everything):
        plain = "bf16" if name not in BYTES or (name == "fp8" and head) else name
        return plain, elements * BYTES[plain]
    if name.startswith(("nf4", "fp4")):
        return name, float(nf4_bytes(round(elements), name.endswith("dq")))
    if name == "int8":
        return name, float(int8_bytes(k, n)) * count
    bits = re.search(r"(\d+(?:\.\d+)?)(?:bpw)?$", name.partition("-g")[0])
    width = float(bits[1]) if bits else 4.0
    if name.startswith("gptq") and width.is_integer():
        return name, float(gptq_bytes(k, n, int(width))) * count
    if name.startswith("awq"):
        return name, float(awq_bytes(k, n)) * count
    if name.startswith(("int8wo", "int8-")):
        return name, elements * 1.0
    if name.startswith(("int4wo", "mlc")):
        return name, elements * 4.5 / 8
    return name, elements * width / 8
