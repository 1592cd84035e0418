"""What it means when a child ends without a word: the kernel, somebody else, or a crash in a library.

Linux counts the processes that it killed for want of memory (oom_kill in /proc/vmstat and in the cgroup's
memory.events). If the count rose while the child ran, it was out of memory; if there is a count and it did not rise,
somebody else sent the signal. Where nobody counts, a SIGKILL is most likely the kernel's.
"""

import re
import signal
from pathlib import Path

from onecard.engines import checkpoint
from onecard.execute.outcome import Ending

_COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_FATAL_MEMORY = re.compile(rb"out of memory|failed to allocate|unable to allocate|bad_alloc|can't allocate", re.I)


def kernel_kills() -> int:
    """Processes killed for memory since the machine (or container) started; -1 where nobody counts."""
    counts = []
    for path in _COUNTERS:
        try:
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.M)
        except OSError:
            continue
        if found:
            counts.append(int(found[1]))
    return max(counts) if counts else -1


def killed_ending(code: int, kills: int, folder: Path) -> Ending:
    """The Ending of a child that told none. `kills`: how far the kernel's count rose."""
    log = f"what its libraries said last is in {folder / 'log.txt'}"
    reached = checkpoint.last(folder)
    if reached is not None:
        log = f"onecard resume {folder.name} goes on from step {reached.step}; {log}"
    if code == -getattr(signal, "SIGKILL", 9):
        if kills > 0:
            return Ending(
                outcome="oom",
                what="the system killed the run",
                why="the machine's memory ran out",
                next=log,
                exit_code=1,
            )
        if kernel_kills() < 0:
            why = "most likely the machine's memory ran out: this system does not say"
            return Ending(outcome="oom", what="the run was killed", why=why, next=log, exit_code=1)
        return Ending(
            outcome="failed", what="the run was killed from outside", why="signal 9, not for memory", next=log
        )
    if _FATAL_MEMORY.search(_tail(folder / "log.txt")):
        return Ending(
            outcome="oom", what="a library gave up for want of memory", why=f"exit status {code}", next=log, exit_code=1
        )
    name = signal.Signals(-code).name if code < 0 and -code in signal.valid_signals() else f"exit status {code}"
    return Ending(outcome="failed", what="the run ended without a word", why=name, next=log, exit_code=1)


def _tail(path: Path, size: int = 20_000) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read()
    except OSError:
        return b""
