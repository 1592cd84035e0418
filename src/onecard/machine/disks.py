"""Folders that work writes to: which disk they are on, how much is free, whether they can be written."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from onecard.core import places
from onecard.machine.facts import Disk


def disks(environment: dict[str, str], root: Path = Path("/")) -> dict[str, Disk]:
    """The model cache, our own records, temporary files."""
    hub, by = hub_folder(environment)
    return {
        "hub": _disk(hub, by, root),
        "home": _disk(places.home(), "ONECARD_HOME" if "ONECARD_HOME" in os.environ else None, root),
        "temporary": _disk(Path(tempfile.gettempdir()), None, root),
    }


def hub_folder(environment: dict[str, str]) -> tuple[Path, str | None]:
    """Where huggingface_hub keeps models, and which variable says so: its own order of precedence."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"]), "HF_HUB_CACHE"
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]) / "hub", "HF_HOME"
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]) / "huggingface" / "hub", "XDG_CACHE_HOME"
    return Path.home() / ".cache" / "huggingface" / "hub", None


def incomplete_downloads(environment: dict[str, str]) -> int | None:
    """Bytes of half-finished files in the model cache."""
    hub, _ = hub_folder(environment)
    total = 0
    for file in hub.glob("*/blobs/*.incomplete"):
        with suppress(OSError):
            total += file.stat().st_size
    return total if hub.is_dir() else None


def _disk(path: Path, by: str | None, root: Path) -> Disk:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    total = free = None
    with suppress(OSError):
        total, _, free = shutil.disk_usage(there)
    return Disk(
        path=str(path),
        total=total,
        free=free,
        writable=os.access(there, os.W_OK),
        filesystem=_filesystem(there, root),
        set_by=by,
    )


def _filesystem(path: Path, root: Path) -> str | None:
    """The type of the mount with the longest prefix of the path."""
    best, kind = "", None
    with suppress(OSError):
        for line in (root / "proc/mounts").read_text(errors="replace").splitlines():
            fields = line.split(" ")
            if len(fields) > 2:
                point = fields[1].replace("\\040", " ")
                inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, fields[2]
    return kind
