"""Weights in torch runtimes: which matrices a quantiser touches, and what everything else weighs.

bitsandbytes, GPTQ and AWQ replace the linear layers inside the blocks; embeddings, head and norms stay in 16 bits
(transformers' quantizers keep `lm_head` by get_keys_to_not_convert). GPTQ and AWQ files hold zero points and scales a group of 128.
"""

import re
from math import prod

from onecard.core.errors import UnknownName
from onecard.core.model import Model
from onecard.parts.memo import per_model
from onecard.parts.quantized import awq_bytes, gptq_bytes, int8_bytes, nf4_bytes
from onecard.parts.transformer import Tensor, tensors

ELEMENT = {"bf16": 2.0, "fp16": 2.0, "f16": 2.0, "fp32": 4.0, "f32": 4.0}
"""Bytes of a weight where nothing is quantised."""

FORMATS = (
    *ELEMENT, "int8", "nf4", "nf4-dq", "fp4", "fp4-dq", "gptq-int4", "gptq-int8", "gptq-int3", "gptq-int2", "awq-int4",
    "int4wo-64", "int4wo-128", "int8wo", "fp8", "exl2", "mlc-int4",
)  # fmt: skip

_EXL2 = re.compile(r"exl2-(\d+(?:\.\d+)?)bpw")

_HEAD_TOO = ("int4wo-64", "int4wo-128", "int8wo", "mlc-int4")
"""formats that quantise the head as well (torchao's quantize_ filters by nn.Linear)"""


def base_format(quant: str) -> str:
    """The weight format without remarks: "gptq-int4 g128" is gptq-int4, "bf16-true" bf16. Raises UnknownName."""
    text = quant.lower().strip()
    for alias, name in (
        ("llm.int8", "int8"),
        ("-true", ""),
        ("float16", "fp16"),
        ("bfloat16", "bf16"),
        ("awq-4bit", "awq-int4"),
    ):
        text = text.replace(alias, name)
    text = {"awq": "awq-int4", "gptq": "gptq-int4", "bnb-nf4": "nf4", "4bit": "nf4", "8bit": "int8"}.get(text, text)
    word = text.split()[0] if text else ""
    if _EXL2.fullmatch(word):
        return word
    if word not in FORMATS:
        raise UnknownName("weight format", quant, FORMATS, next=f"known: {', '.join(FORMATS)}")
    return word


def is_linear(tensor: Tensor) -> bool:
    """A matrix of a block that quantisers replace."""
    return tensor.role in ("attention", "ffn", "expert", "recurrent") and len(tensor.shape) > 1 and tensor.shape[0] > 8


def matrix_bytes(format: str, inputs: int, outputs: int, group: int = 128) -> int:
    """Bytes of one quantised matrix."""
    if format in ("nf4", "fp4"):
        return nf4_bytes(inputs * outputs)
    if format in ("nf4-dq", "fp4-dq"):
        return nf4_bytes(inputs * outputs, double=True)
    if format == "int8":
        return int8_bytes(inputs, outputs)
    if format.startswith("gptq-int"):
        return gptq_bytes(inputs, outputs, int(format[-1]), group)
    if format == "awq-int4":
        return awq_bytes(inputs, outputs, 4, group)
    if format.startswith("int4wo"):
        # tinygemm: half a byte a weight, a bf16 scale and zero a group
        return inputs * outputs // 2 + inputs * outputs // int(format[7:]) * 4
    if format == "mlc-int4":
        return inputs * outputs // 2 + inputs * outputs // 32 * 2
    if found := _EXL2.fullmatch(format):
        # bits are a mean over the matrix; a group index and scales of 32 inputs come with the bits, a permutation beside them
        return round(inputs * outputs * float(found[1]) / 8) + inputs * 4
    return inputs * outputs + outputs * (4 if format == "int8wo" else 0)


@per_model
def weight_bytes(model: Model, format: str, group: int = 128) -> int:
    """Bytes of all weights of the language model on the device."""
    element = ELEMENT.get(format)
    if element is not None:
        return round(sum(t.elements for t in tensors(model)) * element)
    total = 0
    for tensor in tensors(model):
        if is_linear(tensor) or (tensor.role == "output" and len(tensor.shape) > 1 and format in _HEAD_TOO):
            inputs, outputs = tensor.shape[0], tensor.shape[1]
            total += matrix_bytes(format, inputs, outputs, group) * prod(tensor.shape[2:])
        else:
            total += tensor.elements * 2
    return total


@per_model
def head_bytes(model: Model) -> int:
    """Bytes of a 16-bit output matrix, tied or not."""
    return model.vocab * model.hidden * 2


@per_model
def largest_matrix(model: Model) -> int:
    """Elements of the largest matrix of a block: what dequantising kernels need room for."""
    return max(t.shape[0] * t.shape[1] for t in tensors(model) if is_linear(t))
