"""A GGUF file with the exact shapes and tensor types of a model and random weights: to prove a plan before a download.

Random weights take the same memory and run as fast as real ones. The file is streamed to disk under another name and
renamed when it is whole; it is kept for the next proof in a cache of at most LIMIT bytes, from which the files that
were not used for the longest time go first.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from onecard.core.errors import NoRoom
from onecard.core.model import Model
from onecard.core.units import GiB, show_size
from onecard.engines import gguf_writer
from onecard.engines.gguf_metadata import metadata
from onecard.engines.random_blocks import chunks, constant
from onecard.parts.quantized import tensor_bytes
from onecard.parts.transformer import Tensor, tensors

LIMIT = 40 * GiB
"""of all synthetic files together; one that is larger than this by itself is kept until the next is written"""

SPARE = GiB
"""bytes of disk that are left free whatever happens"""

_FORMAT = 1
"""raise it when the content of a file changes, so that old ones are not reused"""

Progress = Callable[[float, float], None]
"""bytes done, bytes in all"""


def synthetic_gguf(
    model: Model, types: Mapping[str, str], label: str, cache: Path, progress: Progress | None = None
) -> Path:
    """The file for a model whose tensors have these GGUF types; written if the cache does not have it. Raises NoRoom."""
    folder = cache / "gguf"
    path = folder / f"{_safe(model.name)}-{_safe(label)}-{_key(model, types)}.gguf"
    if path.exists():
        os.utime(path)  # used now: the last to go
        return path
    folder.mkdir(parents=True, exist_ok=True)
    size = sum(tensor_bytes(types[t.name], t.shape) for t in tensors(model))
    _make_room(folder, size)
    _write(model, types, path, size, progress)
    return path


def _write(model: Model, types: Mapping[str, str], path: Path, size: int, progress: Progress | None) -> None:
    every = tensors(model)
    table = [(t.name, t.shape, types[t.name].upper(), tensor_bytes(types[t.name], t.shape)) for t in every]
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            written = gguf_writer.write(file, metadata(model, f"synthetic {model.name}"), table, _data(every, table))
            for done in written:
                if progress is not None:
                    progress(min(done, size), size)
        partial.replace(path)
    except OSError as error:
        raise NoRoom(
            f"{path} cannot be written", why=error.strerror or str(error), next="free disk space, or set ONECARD_HOME"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _data(
    every: tuple[Tensor, ...], table: list[tuple[str, tuple[int, ...], str, int]]
) -> Iterator[Iterator[bytes | memoryview]]:
    for number, (tensor, (_, _, type_name, size)) in enumerate(zip(every, table, strict=True)):
        if type_name == "F32" and ("norm" in tensor.name or "rope" in tensor.name):
            yield constant(1.0, size)
        elif type_name == "F32" and (tensor.role == "bias" or tensor.name.endswith(".bias")):
            yield constant(0.0, size)
        else:
            yield iter(chunks(type_name, size, number))


def _key(model: Model, types: Mapping[str, str]) -> str:
    content = msgspec.json.encode([_FORMAT, model, dict(types)], order="sorted")
    return hashlib.sha256(content).hexdigest()[:10]


def _safe(text: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "model"


def _make_room(folder: Path, size: int) -> None:
    """Delete what was not used for the longest time until the new file fits the limit and the disk. Raises NoRoom."""
    for stale in folder.glob("*.part"):
        if time.time() - stale.stat().st_mtime > 3600:  # left by a killed writer; a living one writes all the time
            stale.unlink(missing_ok=True)
    kept = sorted(folder.glob("*.gguf"), key=lambda p: p.stat().st_mtime)
    held = sum(p.stat().st_size for p in kept)
    deletable = shutil.disk_usage(folder).free + held
    if size + SPARE > deletable:
        raise NoRoom(
            f"no room for a synthetic model of {show_size(size)}",
            why=f"{folder} has {show_size(shutil.disk_usage(folder).free)} free and {show_size(SPARE)} stay free",
            next="free disk space, set ONECARD_HOME to another disk, or plan a smaller model or quantisation",
        )
    while kept and (held + size > LIMIT or shutil.disk_usage(folder).free < size + SPARE):
        oldest = kept.pop(0)
        held -= oldest.stat().st_size
        oldest.unlink(missing_ok=True)
