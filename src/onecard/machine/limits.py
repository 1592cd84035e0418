"""What a container or a service manager leaves us of the machine: control groups, versions 1 and 2.

/proc/meminfo and the count of processors show the whole machine even inside a container with 2 GiB and half a core;
who plans by them is killed. A limit may stand at any level of the hierarchy, so all of them are read up to the root.
"""

from pathlib import Path
from typing import NamedTuple


class Limits(NamedTuple):
    """None: no limit, or none that can be read."""

    cpus: float | None
    memory: int | None
    memory_used: int | None
    """held by the group that has the limit, without file cache that can be dropped"""


def limits(root: Path = Path("/")) -> Limits:
    """The tightest limits that hold for this process. `root`: another file system, for recorded machines."""
    groups = _groups(root)
    cpus: list[float] = []
    memory: list[tuple[int, int | None]] = []
    for folder in groups:
        cpus += _cpus(folder)
        memory += _memory(folder)
    tightest = min(memory, key=lambda m: m[0], default=None)
    return Limits(min(cpus, default=None), tightest[0] if tightest else None, tightest[1] if tightest else None)


def _groups(root: Path) -> list[Path]:
    """Folders of our control groups, from our own up to the root of each hierarchy."""
    base = root / "sys/fs/cgroup"
    folders: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        tops = [base, base / "unified"] if not controllers else [base / c for c in controllers.split(",")]
        for top in tops:
            inner = Path(path.lstrip("/"))
            # Inside a container the path may belong to the host's view; then only the mount's own root is there.
            chain = [top / p for p in (inner, *inner.parents)]
            folders += [folder for folder in chain if folder.is_dir() and folder not in folders]
    return folders


def _cpus(folder: Path) -> list[float]:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
    count, each = _number(quota), _number(period)
    return [count / each] if count and each and count > 0 else []


def _memory(folder: Path) -> list[tuple[int, int | None]]:
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(_text(folder / limit_name).strip())
        if limit and limit < 1 << 60:  # version 1 writes "no limit" as a number near 2**63
            used = _number(_text(folder / used_name).strip())
            cache = _fields(_text(folder / "memory.stat")).get(cache_name, 0)
            return [(limit, max(0, used - cache) if used is not None else None)]
    return []


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdigit()}


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
