"""The CPU as a device: cores that we may use, instruction sets, clock, caches, and RAM with what is left of it.

Always there, so always the last device of a machine. Facts come from /proc and /sys, `sysctl` or the registry; limits
of a container or of the affinity mask win over what the machine has.
"""

import os
import platform
import re
import sys
from pathlib import Path

import msgspec

from onecard.machine.limits import limits

SETS = ("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
        "amx_bf16", "amx_int8", "neon", "dotprod", "i8mm", "sve", "bf16")  # fmt: skip
"""Instruction sets that kernels of machine learning ask for, by the names of Linux (Arm's shortened)."""


class Processor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes and hertz. Unknown is None."""

    name: str
    logical: int
    """what this process may run at once: processors of the machine, less affinity and control group"""
    physical: int | None = None
    """cores of the machine without hyper-threading"""
    machine_logical: int
    sets: tuple[str, ...] = ()
    clock: float | None = None
    cache: int | None = None
    """last level"""
    family: str = ""
    """vendor, family, model and stepping: a virtual machine's name says little"""
    memory_total: int
    memory_available: int | None = None
    limited_by: str = ""
    """affinity, control group: why fewer processors or less memory than the machine has"""

    @property
    def cores(self) -> int:
        """Threads that do arithmetic without fighting for the same units."""
        return max(1, min(self.logical, self.physical or self.logical))


def processor(root: Path = Path("/")) -> Processor:
    """This machine's CPU. `root`: another file system with a /proc of a recorded Linux machine."""
    system = platform.system()
    if system == "Darwin" and root == Path("/"):
        return _darwin()
    return _windows() if system == "Windows" and root == Path("/") else _linux(root)


def _linux(root: Path) -> Processor:
    text = _read(root / "proc/cpuinfo")
    blocks = [_pairs(block) for block in text.strip().split("\n\n")]
    first = blocks[0] if blocks else {}
    processors = sum("processor" in b for b in blocks) or os.cpu_count() or 1
    # A core is a pair of package and core number; a machine that does not tell (most Arm) has no hyper-threads.
    pairs = {(b.get("physical id"), b.get("core id")) for b in blocks if "core id" in b}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    name = first.get("model name") or first.get("Model") or _arm_name(first) or platform.machine() or "CPU"
    held = limits(root)
    usable, why = processors, []
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < usable:
            usable, why = allowed, ["affinity"]
    if held.cpus is not None and held.cpus < usable:
        usable, why = max(1, int(held.cpus)), [*why, "control group"]
    total, available = _linux_memory(root)
    if held.memory is not None and held.memory < total:
        left = held.memory - (held.memory_used or 0)
        total, why = held.memory, [*why, "control group's memory limit"]
        available = max(0, min(available if available is not None else left, left))
    return Processor(
        name=" ".join(name.split()),
        logical=usable,
        physical=len(pairs) or None,
        machine_logical=processors,
        sets=sets_of(flags),
        clock=_linux_clock(root, first),
        cache=_linux_cache(root),
        family=" ".join(first.get(k, "") for k in ("vendor_id", "cpu family", "model", "stepping")).strip(),
        memory_total=total,
        memory_available=available,
        limited_by=", ".join(why),
    )


def sets_of(flags: set[str]) -> tuple[str, ...]:
    """The names of SETS among a kernel's flags; Arm calls NEON "asimd" and its dot product "asimddp"."""
    arm = {"asimd": "neon", "asimddp": "dotprod"}
    have = flags | {arm[f] for f in flags & arm.keys()}
    return tuple(s for s in SETS if s in have)


def _linux_memory(root: Path) -> tuple[int, int | None]:
    fields = _pairs(_read(root / "proc/meminfo"))

    def kib(name: str) -> int | None:
        found = re.match(r"(\d+) kB", fields.get(name, ""))
        return int(found[1]) * 1024 if found else None

    total = kib("MemTotal")
    if total is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total, kib("MemAvailable")


def _linux_clock(root: Path, first: dict[str, str]) -> float | None:
    """Highest clock in Hz; in a virtual machine only the base clock may be told."""
    khz = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    if khz.isdigit():
        return int(khz) * 1e3
    named = re.search(r"@ ([\d.]+)\s*GHz", first.get("model name", ""))
    if named:
        return float(named[1]) * 1e9
    try:
        return float(first["cpu MHz"]) * 1e6
    except (KeyError, ValueError):
        return None


def _linux_cache(root: Path) -> int | None:
    sizes = [_read(p).strip() for p in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(s[:-1]) * 1024 for s in sizes if s.endswith("K") and s[:-1].isdigit()), default=None)


def _arm_name(first: dict[str, str]) -> str:
    part = first.get("CPU part")
    return f"Arm {first.get('CPU implementer', '')} {part}" if part else ""


def _darwin() -> Processor:
    import psutil

    names = ("machdep.cpu.brand_string", "hw.physicalcpu", "hw.logicalcpu", "hw.memsize", "hw.cpufrequency_max",
             "hw.optional.arm.FEAT_DotProd", "hw.optional.arm.FEAT_I8MM", "hw.optional.arm.FEAT_BF16",
             "hw.optional.avx2_0", "hw.optional.avx512f", "hw.l2cachesize", "hw.l3cachesize")  # fmt: skip
    values = {name: told for name in names if (told := sysctl(name)) is not None}
    on = {n.rpartition(".")[2] for n, v in values.items() if n.startswith("hw.optional") and v == "1"}
    arm = platform.machine() == "arm64"
    flags = {"asimd"} if arm else {"avx", "fma", "f16c"}
    flags |= {
        f
        for k, f in (("FEAT_DotProd", "asimddp"), ("FEAT_I8MM", "i8mm"), ("FEAT_BF16", "bf16"), ("avx2_0", "avx2"))
        if k in on
    }
    memory = psutil.virtual_memory()
    caches = [int(values[n]) for n in ("hw.l2cachesize", "hw.l3cachesize") if values.get(n, "").isdigit()]
    logical = psutil.cpu_count() or 1
    return Processor(
        name=values.get("machdep.cpu.brand_string") or platform.processor() or "CPU",
        logical=logical,
        physical=psutil.cpu_count(logical=False),
        machine_logical=logical,
        sets=sets_of(flags),
        clock=float(values["hw.cpufrequency_max"]) if values.get("hw.cpufrequency_max", "").isdigit() else None,
        cache=max(caches, default=None),
        memory_total=memory.total,
        memory_available=memory.available,
    )


def sysctl(name: str) -> str | None:
    """A value of macOS' kernel as text, through the C library; None on any other system."""
    if platform.system() != "Darwin":
        return None
    import ctypes

    by_name = getattr(ctypes.CDLL(None), "sysctlbyname", None)
    size = ctypes.c_size_t(0)
    if by_name is None or by_name(name.encode(), None, ctypes.byref(size), None, 0) != 0:
        return None
    found = ctypes.create_string_buffer(size.value)
    if by_name(name.encode(), found, ctypes.byref(size), None, 0) != 0:
        return None
    raw = found.raw[: size.value]
    # Numbers come as 4 or 8 bytes, texts end with a zero byte.
    if name.startswith("hw.") and size.value in (4, 8):
        return str(int.from_bytes(raw, sys.byteorder))
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _windows() -> Processor:
    import psutil

    memory = psutil.virtual_memory()
    frequency = psutil.cpu_freq()
    logical = psutil.cpu_count() or 1
    return Processor(
        name=windows_name() or platform.processor() or "CPU",
        logical=logical,
        physical=psutil.cpu_count(logical=False),
        machine_logical=logical,
        sets=windows_sets(),
        clock=frequency.max * 1e6 if frequency and frequency.max else None,
        family=platform.processor(),
        memory_total=memory.total,
        memory_available=memory.available,
    )


def windows_name() -> str | None:
    """ "AMD Ryzen 7 5800X 8-Core Processor" from the registry."""
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return None


def windows_sets() -> tuple[str, ...]:
    """Through IsProcessorFeaturePresent (winnt.h: 39 AVX, 40 AVX2, 41 AVX512F, 19 NEON, 43 Arm dot product)."""
    if sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        flags = {
            f for n, f in ((39, "avx"), (40, "avx2"), (41, "avx512f"), (19, "asimd"), (43, "asimddp")) if present(n)
        }
        return sets_of(flags | ({"fma", "f16c"} if "avx2" in flags else set()))
    return ()


def _pairs(text: str) -> dict[str, str]:
    parts = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in parts if colon}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
