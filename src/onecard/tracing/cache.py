"""Remembers the answer of a trace: the same code, settings, versions and class of cards have the same answer.

The key is a hash of what the caller knows; the local files that the program imported are checked on the way back, since
only a run can tell which they are.
"""

import hashlib
import importlib.metadata
import os
import sys
from pathlib import Path

import msgspec

from onecard.core.places import cache
from onecard.tracing.job import Job, Result

LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "diffusers", "timm", "numpy")
"""a new version of one of these asks for a new trace"""


def key(job: Job) -> str:
    """Hash of the program's own file, settings, versions, and the profile."""
    digest = hashlib.sha256(Path(job.target.file).read_bytes())
    said = msgspec.structs.replace(job, scratch="")
    digest.update(msgspec.json.encode(said, order="deterministic"))
    digest.update(f"{sys.version_info} {os.environ.get('CUBLAS_WORKSPACE_CONFIG')}".encode())
    for name in LIBRARIES:
        digest.update(f"{name} {_version(name)}".encode())
    digest.update(_own_source())
    return digest.hexdigest()[:32]


def load(name: str) -> Result | None:
    """A remembered Result whose files are unchanged; None otherwise."""
    file = _folder() / f"{name}.msgpack"
    try:
        result = msgspec.msgpack.decode(file.read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None
    if any(hash_of(path) != known for path, known in result.files.items()):
        return None
    return result


def save(name: str, result: Result) -> None:
    """Written whole or not at all."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.{os.getpid()}.partial"
    partial.write_bytes(msgspec.msgpack.encode(result))
    partial.replace(folder / f"{name}.msgpack")


def hash_of(path: str) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def _folder() -> Path:
    return cache() / "traces"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _own_source() -> bytes:
    """The tracer itself: another version of it may answer otherwise."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()
