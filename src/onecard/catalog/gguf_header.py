"""The header of a GGUF file: key-values and every tensor's name, type, shape and place; pure Python, no library.

Layout (ggml, docs/gguf.md): magic "GGUF", version (2 or 3) as u32, number of tensors and of key-values as u64; the
key-values (string key, u32 type, value); then for every tensor its name, number of dimensions, dimensions (ggml order:
the contiguous row first), type and offset; the data begin at the next multiple of `general.alignment`. All little
endian; a big-endian file is refused by name. Of long arrays (a vocabulary has 256,000 strings) only the length is
kept. The file is mapped, not read, and the header of a 400 GB file costs as little as its header is long.
"""

import mmap
import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from onecard.core.errors import BadFile

TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip
"""ggml_type -> (name, elements of a block, bytes of a block): ggml/include/ggml.h, enum ggml_type; gguf-py 0.19 constants.
A test holds the blocks together with those of parts/quantized.py and of the gguf library."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KEPT = 1024
"""arrays up to this length are kept (head counts a layer); of longer ones only the length"""


class GgufTensor(NamedTuple):
    """One tensor of a file: ggml's order of dimensions, bytes of its data, offset from the start of the data."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int
    offset: int


class Length(int):
    """The length of an array that was too long to keep."""


class Header(NamedTuple):
    """What stands before the data of one GGUF file."""

    values: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    data: int
    """where the data begin, in bytes from the start of the file"""


class _Cursor:
    """Reads little-endian values one after the other; everything beyond the end is a truncated file."""

    def __init__(self, buffer: mmap.mmap, size: int, where: str) -> None:
        self.buffer, self.size, self.where, self.at = buffer, size, where, 0

    def skip(self, count: int) -> int:
        """Step over so many bytes and give the place before them."""
        before = self.at
        if count < 0 or count > self.size - before:
            raise BadFile(
                f"{self.where} ends after {self.size:,} bytes, within its header",
                why="the file is truncated or damaged",
                next="download it again and compare its size",
            )
        self.at = before + count
        return before

    def number(self, code: str) -> Any:
        """One scalar of a struct code."""
        return struct.unpack_from(f"<{code}", self.buffer, self.skip(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        """u64 length and UTF-8 text; other bytes are replaced, names are only shown."""
        length = self.number("Q")
        start = self.skip(length)
        return self.buffer[start : start + length].decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """One value of a GGUF type."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 4:
            raise BadFile(
                f"{self.where} has a value of the unknown type {kind}", why="it is damaged or of a newer version"
            )
        inner, count = self.number("I"), self.number("Q")
        if count > self.size:  # every element has at least a byte
            self.skip(count)
        if inner in _SCALARS:
            width = struct.calcsize(f"<{_SCALARS[inner]}")
            start = self.skip(width * count)
            if count > _KEPT:
                return Length(count)
            return list(struct.unpack_from(f"<{count}{_SCALARS[inner]}", self.buffer, start))
        if inner == _STRING and count > _KEPT:
            self._skip_strings(count)
            return Length(count)
        return [self.value(inner, depth + 1) for _ in range(count)]

    def _skip_strings(self, count: int) -> None:
        """The fast way over a vocabulary."""
        read, buffer, at = struct.Struct("<Q").unpack_from, self.buffer, self.at
        try:
            for _ in range(count):
                at += 8 + read(buffer, at)[0]
        except (struct.error, OverflowError):
            at = self.size + 1
        self.skip(at - self.at)


def read_header(path: Path) -> Header:
    """The header of one file. Raises BadFile for a truncated, foreign, big-endian or newer one."""
    where = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(8)
            if size < 24 or magic[:4] != b"GGUF":
                raise _foreign(where, magic, size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _header(_Cursor(buffer, size, where))
    except OSError as error:
        raise BadFile(f"{path} cannot be read", why=str(error)) from None


def _foreign(where: str, magic: bytes, size: int) -> BadFile:
    if b"GGUF".startswith(magic[:4]):
        return BadFile(f"{where} has only {size} bytes", why="the file is truncated", next="download it again")
    if magic[:4] in (b"ggml", b"lmgg", b"tjgg", b"ggjt", b"ggmf", b"fmgg"):
        return BadFile(f"{where} is of the old GGML format", next="take a GGUF file of the model")
    if magic[:4] == b"FUGG":
        return BadFile(f"{where} is a big-endian GGUF file", next="take the little-endian one")
    if magic.startswith(b"version "):
        return BadFile(f"{where} is a Git LFS pointer, not the file itself", next="git lfs pull")
    return BadFile(
        f"{where} is not a GGUF file", why=f"it begins with {magic[:4]!r}", next="name a .gguf file or a config.json"
    )


def _header(cursor: _Cursor) -> Header:
    cursor.skip(4)
    version = cursor.number("I")
    if version & 0xFFFF == 0:
        raise BadFile(f"{cursor.where} is a big-endian GGUF file", next="take the little-endian one")
    if version not in (2, 3):
        raise BadFile(f"{cursor.where} is GGUF version {version}; versions 2 and 3 are read")
    tensor_count, value_count = cursor.number("Q"), cursor.number("Q")
    if max(tensor_count, value_count) > cursor.size:  # each takes more than a byte
        cursor.skip(max(tensor_count, value_count))
    values: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.string()
        values[key] = cursor.value(cursor.number("I"))
    tensors = tuple(_tensor(cursor) for _ in range(tensor_count))
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise BadFile(f"{cursor.where} has the alignment {alignment!r}", why="the file is damaged")
    data = -(-cursor.at // alignment) * alignment
    end = max((data + t.offset + t.bytes for t in tensors), default=0)
    if end > cursor.size:
        raise BadFile(
            f"{cursor.where} has {cursor.size:,} bytes where its header speaks of {end:,}",
            why="the file is truncated",
            next="download it again and compare its size",
        )
    return Header(values, tensors, data)


def _tensor(cursor: _Cursor) -> GgufTensor:
    name = cursor.string()
    dimensions = cursor.number("I")
    if not 0 < dimensions <= 8:
        raise BadFile(f'{cursor.where}: tensor "{name[:80]}" has {dimensions} dimensions', why="the file is damaged")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    kind, offset = cursor.number("I"), cursor.number("Q")
    if kind not in TYPES:
        raise BadFile(
            f'{cursor.where}: tensor "{name[:80]}" has the unknown type {kind}',
            why="damaged, or of a newer version of ggml",
        )
    label, block, size = TYPES[kind]
    return GgufTensor(name, label, shape, -(-shape[0] // block) * size * prod(shape[1:]), offset)
