"""Bytes of quantised formats: the block types of GGUF, and what bitsandbytes, GPTQ and AWQ keep beside each matrix.

A quantised matrix is never "bits times parameters": every block carries a scale (and often a minimum), rows are cut
into blocks, and some tensors stay as they are. Each entry says what a block holds.
"""

from functools import cache
from math import prod

from onecard.core.errors import UnknownName

GGUF_BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q1_0": (128, 18),  # fp16 scale + 128 x 1 bit
    "Q4_0": (32, 18),  # fp16 scale + 32 x 4 bit
    "Q4_1": (32, 20),  # and an fp16 minimum
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q8_1": (32, 40),
    "Q2_K": (256, 84),  # 16 x (4 + 4) bit scales and minima + 256 x 2 bit + 2 fp16
    "Q3_K": (256, 110),  # 12 bytes of 6-bit scales + 256 x 3 bit + fp16
    "Q4_K": (256, 144),  # 12 bytes of 6-bit scales and minima + 256 x 4 bit + 2 fp16
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),  # 16 int8 scales + 256 x 6 bit + fp16
    "Q8_K": (256, 292),
    "IQ1_S": (256, 50),
    "IQ1_M": (256, 56),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98),
    "IQ3_S": (256, 110),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),  # E8M0 scale + 32 x E2M1
    "NVFP4": (64, 36),
    "I8": (1, 1),
    "I16": (1, 2),
    "I32": (1, 4),
    "I64": (1, 8),
    "F64": (1, 8),
}
"""GGUF type -> (elements of a block, bytes of a block). Source: ggml/src/ggml-common.h at llama.cpp 007dbbf, as gguf-py 0.19 lists them."""


def row_bytes(type: str, elements: int) -> int:
    """Bytes of one row. Raises UnknownName for a type that GGUF does not have; rows are whole blocks."""
    try:
        block, size = GGUF_BLOCKS[type.upper()]
    except KeyError:
        raise UnknownName("GGUF type", type, GGUF_BLOCKS) from None
    return -(-elements // block) * size


@cache  # a model has a dozen shapes and hundreds of tensors
def tensor_bytes(type: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor with ggml's order of dimensions (the first one is the contiguous row)."""
    return row_bytes(type, shape[0]) * prod(shape[1:])


def bits(type: str) -> float:
    """Bits a weight: 4.5 for Q4_0, 6.5625 for Q6_K."""
    block, size = GGUF_BLOCKS[type.upper()]
    return 8 * size / block


def padded_bytes(type: str, shape: tuple[int, ...], alignment: int = 32) -> int:
    """Bytes of a tensor in a ggml buffer: the next multiple of the alignment (32 on the CPU, 128 on CUDA)."""
    return -(-tensor_bytes(type, shape) // alignment) * alignment


@cache  # a model has a dozen shapes and hundreds of tensors
def cuda_bytes(type: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor in a CUDA buffer: a quantised row that is no multiple of 512 elements is padded to one.

    The quantised matrix kernels read whole strips of 512; ggml_backend_cuda_buffer_type_get_alloc_size adds the rest of
    the last row (MATRIX_ROW_PADDING, ggml-cuda.cu). Then the 128-byte alignment of the buffer type.
    """
    size = tensor_bytes(type, shape)
    block, _ = GGUF_BLOCKS[type.upper()]
    rest = shape[0] % 512
    if block > 1 and rest:
        size += row_bytes(type, 512 - rest)
    return -(-size // 128) * 128


def nf4_bytes(elements: int, double: bool = False) -> int:
    """bitsandbytes 4-bit (nf4 or fp4, block 64): half a byte a weight and one scale (absmax) a block.

    Scales are fp32; with double quantisation they are uint8, themselves with an fp32 scale per 256 and one fp32 offset.
    The code book (16 fp32) and, when doubled, the one of 256 fp32 are counted too. Source: QLoRA, arXiv 2305.14314
    section 3; bitsandbytes functional.quantize_4bit and quantize_blockwise 0.41 to 0.50.
    """
    scales = -(-elements // 64)
    size = -(-elements // 2) + 16 * 4
    return size + (scales + -(-scales // 256) * 4 + 4 + 256 * 4 if double else scales * 4)


def int8_bytes(inputs: int, outputs: int) -> int:
    """bitsandbytes LLM.int8: a byte a weight and one fp32 scale a row (SCB). Source: arXiv 2208.07339; nn.Linear8bitLt."""
    return inputs * outputs + outputs * 4


def gptq_bytes(inputs: int, outputs: int, width: int = 4, group: int = 128) -> int:
    """GPTQ: packed weights, packed zero points, fp16 scales a group and one int32 group index an input (g_idx).

    Source: AutoGPTQ nn_modules/qlinear (qweight, qzeros, scales, g_idx). group -1 is one group for all inputs.
    """
    groups = 1 if group <= 0 else -(-inputs // group)
    return inputs * outputs * width // 8 + groups * outputs * width // 8 + groups * outputs * 2 + inputs * 4


def awq_bytes(inputs: int, outputs: int, width: int = 4, group: int = 128) -> int:
    """AWQ: packed weights, packed zero points and fp16 scales a group. Source: AutoAWQ modules/linear (WQLinear_GEMM)."""
    groups = 1 if group <= 0 else -(-inputs // group)
    return inputs * outputs * width // 8 + groups * outputs * width // 8 + groups * outputs * 2
