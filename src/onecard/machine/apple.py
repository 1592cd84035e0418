"""The GPU of an Apple chip: it shares the machine's memory, and macOS lends it most of that.

How much: `iogpu.wired_limit_mb` where the owner set it, else two thirds of a memory up to 36 GiB and three quarters of
a larger one (recommendedMaxWorkingSetSize as people report it; https://github.com/ggml-org/llama.cpp/discussions/2182).
"""

import json
import platform
import re
from typing import NamedTuple

from onecard.core.units import GiB, MiB
from onecard.machine.patience import ask


class Chip(NamedTuple):
    """An Apple chip: "Apple M2 Pro", its GPU cores, its memory in bytes, and what the GPU may hold of it."""

    name: str
    gpu_cores: int | None
    memory_total: int
    working_set: int


def chip() -> Chip | None:
    """None on anything but an Apple computer with an Apple chip."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return None
    told = ask(["sysctl", "machdep.cpu.brand_string", "hw.memsize", "iogpu.wired_limit_mb"], 1.0)
    shown = ask(["system_profiler", "SPDisplaysDataType", "-json"], 3.0)
    return parse(told.text if told else "", shown.text if shown else "")


def parse(sysctl: str, displays: str) -> Chip | None:
    """From what `sysctl` and `system_profiler SPDisplaysDataType -json` print; None when they make no sense."""
    values = {k.strip(): v.strip() for k, colon, v in (line.partition(":") for line in sysctl.splitlines()) if colon}
    name, memory = values.get("machdep.cpu.brand_string", ""), values.get("hw.memsize", "")
    if not name.startswith("Apple ") or not memory.isdigit():
        return None
    total = int(memory)
    set_by_owner = values.get("iogpu.wired_limit_mb", "0")
    limit = int(set_by_owner) * MiB if set_by_owner.isdigit() else 0
    return Chip(name, _cores(displays), total, limit or working_set(total))


def working_set(total: int) -> int:
    """What macOS lets the GPU hold by default."""
    return total * 2 // 3 if total <= 36 * GiB else total * 3 // 4


def _cores(displays: str) -> int | None:
    try:
        for shown in json.loads(displays)["SPDisplaysDataType"]:
            found = re.match(r"\d+", str(shown.get("sppci_cores", "")))
            if found:
                return int(found[0])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return None
