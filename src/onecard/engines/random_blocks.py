"""Random weights in every format of GGUF that a real file could hold: valid blocks with small finite scales.

Only the scales of a block must not be random: any bits are valid quants, but random bits as an fp16 scale are often
huge or not a number. Each scale is set so that the weights spread by about 0.02, as those of trained models do;
so activations and logits stay finite through any number of layers, and arithmetic never meets denormals.

A pool of some megabytes is made once a type and tensors are tiled from it, each from another offset. Neither speed nor
memory depends on the values (tests/engines/test_random_blocks.py dequantises every type).
"""

import random
import struct
from array import array
from collections.abc import Iterator
from functools import cache

POOL = 4 * 1024**2
"""bytes"""

_SPREAD = 0.02

# Block layouts of ggml/src/ggml-common.h: type -> (block bytes, {offset: fp16 value}). Values: the spread divided by what
# the rest of the formula spreads for random bits, e.g. Q4_0 is (q - 8) d with q uniform in 0..15, which spreads 4.6 d.
_SCALES: dict[str, tuple[int, dict[int, float]]] = {
    "Q4_0": (18, {0: _SPREAD / 4.6}),
    "Q4_1": (20, {0: _SPREAD / 4.6, 2: -7.5 * _SPREAD / 4.6}),
    "Q5_0": (22, {0: _SPREAD / 9.2}),
    "Q5_1": (24, {0: _SPREAD / 9.2, 2: -15.5 * _SPREAD / 9.2}),
    "Q8_0": (34, {0: _SPREAD / 74}),
    "Q2_K": (84, {80: _SPREAD / 17, 82: 1.5 * _SPREAD / 17}),
    "Q3_K": (110, {108: _SPREAD / 43}),
    "Q4_K": (144, {0: _SPREAD / 280, 2: 7.5 * _SPREAD / 280}),
    "Q5_K": (176, {0: _SPREAD / 570, 2: 15.5 * _SPREAD / 570}),
    "Q6_K": (210, {208: _SPREAD / 1370}),
    "IQ1_S": (50, {0: _SPREAD / 8}),
    "IQ2_XXS": (66, {0: _SPREAD / 45}),
    "IQ2_XS": (74, {0: _SPREAD / 45}),
    "IQ2_S": (82, {0: _SPREAD / 45}),
    "IQ3_XXS": (98, {0: _SPREAD / 120}),
    "IQ3_S": (110, {0: _SPREAD / 130}),
    "IQ4_NL": (18, {0: _SPREAD / 67}),
    "IQ4_XS": (136, {0: _SPREAD / 1240}),
    "TQ1_0": (54, {52: _SPREAD}),
    "TQ2_0": (66, {64: _SPREAD}),
}


@cache
def pool(type_name: str) -> bytes:
    """About POOL bytes of whole random blocks of one type; the same in every run. Raises KeyError for an unknown type."""
    source = random.Random(f"onecard {type_name}")
    if type_name in ("F32", "F16", "BF16"):
        return _floats(type_name, source)
    if type_name in ("MXFP4", "NVFP4"):
        return _microscaled(type_name, source)
    if type_name == "IQ1_M":
        return _iq1_m(source)
    size, scales = _SCALES[type_name]
    count = POOL // size
    blocks = bytearray(source.randbytes(count * size))
    for offset, value in scales.items():
        for index, byte in enumerate(struct.pack("<e", value)):
            blocks[offset + index :: size] = bytes([byte]) * count
    return bytes(blocks)


def _floats(type_name: str, source: random.Random) -> bytes:
    values = [source.gauss(0.0, _SPREAD) for _ in range(65_536)]
    if type_name == "F16":
        return struct.pack(f"<{len(values)}e", *values) * (POOL // 131_072)
    single = array("f", values).tobytes()
    if type_name == "BF16":  # the upper half of fp32
        upper = bytearray(len(single) // 2)
        upper[0::2], upper[1::2] = single[2::4], single[3::4]
        return bytes(upper) * (POOL // len(upper))
    return single * (POOL // len(single))


def _microscaled(type_name: str, source: random.Random) -> bytes:
    """Block scales of one byte: MXFP4 an exponent (E8M0, 2^(e - 127), values up to 12 in halves), NVFP4 four UE4M3."""
    size, scales, value = (17, 1, 119) if type_name == "MXFP4" else (36, 4, 0x08)
    count = POOL // size
    blocks = bytearray(source.randbytes(count * size))
    for offset in range(scales):
        blocks[offset::size] = bytes([value]) * count
    return bytes(blocks)


def _iq1_m(source: random.Random) -> bytes:
    """The fp16 scale of a block of 56 bytes is spread over the upper four bits of its last four 16-bit words."""
    size, bits = 56, struct.unpack("<H", struct.pack("<e", _SPREAD / 8))[0]
    count = POOL // size
    blocks = bytearray(source.randbytes(count * size))
    for word in range(4):
        at = 48 + 2 * word + 1
        nibble = (bits >> (4 * word) & 0xF) << 4
        blocks[at::size] = bytes(nibble | (b & 0x0F) for b in blocks[at::size])
    return bytes(blocks)


def block_bytes(type_name: str) -> int:
    """Bytes of one block, the unit in which tensors may start in the pool."""
    plain = {"F32": 4, "F16": 2, "BF16": 2, "MXFP4": 17, "NVFP4": 36, "IQ1_M": 56}
    return plain.get(type_name) or _SCALES[type_name][0]


def chunks(type_name: str, size: int, seed: int) -> Iterator[memoryview]:
    """`size` bytes of random weights as views into the pool, from an offset that depends on `seed`."""
    blocks = memoryview(pool(type_name))
    unit = block_bytes(type_name)
    at = (seed * 7919 % (len(blocks) // unit)) * unit
    while size > 0:
        piece = blocks[at : at + size]
        yield piece
        size -= len(piece)
        at = 0


def constant(value: float, size: int) -> Iterator[bytes]:
    """`size` bytes of one fp32 number: norms are ones in a fresh model, biases zeros."""
    yield struct.pack("<f", value) * (size // 4)
