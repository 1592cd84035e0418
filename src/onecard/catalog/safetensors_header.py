"""The headers of safetensors files: every tensor's dtype, shape and bytes without reading a weight.

Layout (huggingface/safetensors, README "Format"): the length of the header as u64, little endian, then the header as JSON
{name: {"dtype", "shape", "data_offsets": [begin, end]}}, then the data. A folder with many files has an index,
model.safetensors.index.json, whose weight_map names the file of each tensor.
"""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from onecard.core.errors import BadFile

WIDTHS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16,
    "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64,
}  # fmt: skip
"""bits of an element"""
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_LONGEST = 100_000_000
"""bytes of a header; the format's own limit"""


class StoredTensor(NamedTuple):
    """One tensor of a file, PyTorch's order of dimensions."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """name -> tensor of a .safetensors file, of an index, or of a folder with either. Raises BadFile."""
    tensors: dict[str, StoredTensor] = {}
    for file in _files(path):
        tensors |= _read(file)
    return tensors


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        found = [index] if index.exists() else sorted(path.glob("*.safetensors"))
        if not found:
            raise BadFile(f"{path} has no .safetensors files", next="name the folder that holds the weights")
        return _files(found[0]) if index.exists() else found
    if path.suffix != ".json":
        return [path]
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
        files = [path.with_name(str(name)) for name in dict.fromkeys(named)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{path} is not an index of safetensors files", why=str(error)) from None
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise BadFile(f"{path.name} names {len(files)} files and {len(missing)} are missing", why=", ".join(missing[:4]),
                      next="download the rest")  # fmt: skip
    return files


def _read(path: Path) -> dict[str, StoredTensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= _LONGEST:
                raise BadFile(f"{path.name} is not a safetensors file", why=f"it begins with {start!r}")
            if 8 + length > size:
                raise BadFile(
                    f"{path.name} ends within its header", why="the file is truncated", next="download it again"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise BadFile(f"{path} cannot be read", why=str(error)) from None
    except (ValueError, RecursionError):
        raise BadFile(f"{path.name} is not a safetensors file", why="its header is not JSON") from None
    if not isinstance(header, dict):
        raise BadFile(f"{path.name} is not a safetensors file", why="its header is not an object")
    tensors, end = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        tensors[name], last = _tensor(path.name, name, entry)
        end = max(end, last)
    if 8 + length + end > size:
        raise BadFile(f"{path.name} has {size:,} bytes where its header speaks of {8 + length + end:,}",
                      why="the file is truncated", next="download it again")  # fmt: skip
    return tensors


def _tensor(file: str, name: str, entry: Mapping[str, Any]) -> tuple[StoredTensor, int]:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise BadFile(f'{file}: the entry of tensor "{name[:80]}" is damaged') from None
    if dtype not in WIDTHS:
        raise BadFile(f'{file}: tensor "{name[:80]}" has the unknown dtype {dtype[:20]}')
    stored = StoredTensor(dtype, shape, -(-prod(shape) * WIDTHS[dtype] // 8))
    if any(side < 0 for side in shape) or not 0 <= begin <= end or end - begin != stored.bytes:
        raise BadFile(f'{file}: tensor "{name[:80]}" of shape {shape} cannot take {end - begin} bytes')
    return stored, end


def count_parameters(tensors: Mapping[str, StoredTensor]) -> int | None:
    """Elements of all tensors; None where weights are packed into integers, whose elements are no weights."""
    if any(t.dtype not in FLOATS for name, t in tensors.items() if name.endswith(".weight") or "qweight" in name):
        return None
    return sum(t.elements for t in tensors.values() if t.dtype in FLOATS)
