"""Writes a GGUF file as a stream: header, metadata, tensor table, then the tensors chunk by chunk, never whole in memory.

The format (little-endian, version 3; ggml/docs/gguf.md): magic, version, counts; metadata as (key, type, value); per
tensor its name, dimensions in ggml's order, type and offset; then the data, each tensor at a multiple of 32 bytes.
Written here with the standard library alone, since only lengths and offsets are needed and no array library.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

ALIGNMENT = 32

TYPE_IDS = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q8_1": 9, "Q2_K": 10, "Q3_K": 11,
    "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "Q8_K": 15, "IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19,
    "IQ4_NL": 20, "IQ3_S": 21, "IQ2_S": 22, "IQ4_XS": 23, "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28,
    "IQ1_M": 29, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "MXFP4": 39, "NVFP4": 40,
}  # fmt: skip
"""enum ggml_type of ggml/include/ggml.h (the numbers in files never change)"""

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _kind(value: Any) -> int:
    # bool is an int in Python: it has to be asked first
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return _INT32 if value < 0 else _UINT32
    if isinstance(value, float):
        return _FLOAT32
    if isinstance(value, str):
        return _STRING
    raise TypeError(f"GGUF metadata cannot hold {value!r}")


def _plain(value: Any, kind: int) -> bytes:
    if kind == _STRING:
        return _text(value)
    code = {_BOOL: "<?", _UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}[kind]
    return struct.pack(code, value)


def metadata_bytes(key: str, value: Any) -> bytes:
    """One entry: bool, int (32 bit), float, str, or a list of one of these (ints in lists are signed)."""
    if isinstance(value, list | tuple):
        kind = _kind(value[0])
        kind = _INT32 if kind == _UINT32 else kind
        items = b"".join(_plain(v, kind) for v in value)
        return _text(key) + struct.pack("<IIQ", _ARRAY, kind, len(value)) + items
    kind = _kind(value)
    return _text(key) + struct.pack("<I", kind) + _plain(value, kind)


def header(metadata: Mapping[str, Any], tensors: Sequence[tuple[str, tuple[int, ...], str, int]]) -> bytes:
    """Everything before the data. tensors: (name, shape in ggml's order, type, bytes)."""
    pieces = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    pieces += [metadata_bytes(key, value) for key, value in metadata.items()]
    offset = 0
    for name, shape, type_name, size in tensors:
        pieces.append(_text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape))
        pieces.append(struct.pack("<IQ", TYPE_IDS[type_name], offset))
        offset += size + padding(size)
    whole = b"".join(pieces)
    return whole + b"\0" * padding(len(whole))


def padding(size: int) -> int:
    """Bytes to the next multiple of the alignment."""
    return -size % ALIGNMENT


def write(
    file: BinaryIO,
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, tuple[int, ...], str, int]],
    data: Iterable[Iterable[bytes | memoryview]],
) -> Iterator[int]:
    """Write all; `data` gives the chunks of each tensor in order. Yields the bytes written so far, chunk by chunk.

    Raises ValueError if the chunks of a tensor do not add up to its size.
    """
    written = file.write(header(metadata, tensors))
    yield written
    for (name, _, _, size), chunks in zip(tensors, data, strict=True):
        inside = 0
        for chunk in chunks:
            inside += file.write(chunk)
            yield written + inside
        if inside != size:
            raise ValueError(f"{name} has {inside} bytes of data and {size} in the table")
        written += inside + file.write(b"\0" * padding(size))
