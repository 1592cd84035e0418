"""Graphics adapters on Windows as the registry knows them: names and memory of AMD and Intel cards, without a tool."""

import ctypes
import sys
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


class Adapter(NamedTuple):
    """Name, dedicated memory in bytes and driver version of one adapter."""

    name: str
    memory_total: int | None
    driver: str | None


def adapters() -> list[Adapter]:
    """Empty on any other system."""
    found: list[Adapter] = []
    if sys.platform == "win32":
        import winreg

        for number in range(16):
            with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{CLASS}\{number:04d}") as key:
                name = str(winreg.QueryValueEx(key, "DriverDesc")[0])
                memory: int | None = None
                driver: str | None = None
                with suppress(OSError, TypeError, ValueError):
                    memory = int(winreg.QueryValueEx(key, "HardwareInformation.qwMemorySize")[0])
                with suppress(OSError):
                    driver = str(winreg.QueryValueEx(key, "DriverVersion")[0])
                found.append(Adapter(name, memory, driver))
    return found


def plain(name: str) -> str:
    """ "Intel Arc A770" from "Intel(R) Arc(TM) A770 Graphics"."""
    for mark in ("(R)", "(TM)", "(C)"):
        name = name.replace(mark, "")
    return " ".join(name.split()).removesuffix(" Graphics")


def facts() -> dict[str, Any]:
    """Windows' part of the Facts: adapters by vendor, driver model, C++ runtime, paging file, battery."""
    found: dict[str, Any] = {"adapters": tuple(f"{_vendor(a.name)}:{a.name}" for a in adapters())}
    if sys.platform == "win32":
        from pathlib import Path

        system = Path(r"C:\Windows\System32")
        found["vc_runtime"] = all((system / n).exists() for n in ("vcruntime140_1.dll", "msvcp140.dll"))
        state = _MemoryStatus()
        state.length = ctypes.sizeof(state)
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(state)):
            found["commit_limit"] = int(state.commit_limit)
        power = (ctypes.c_ubyte * 12)()
        if ctypes.windll.kernel32.GetSystemPowerStatus(power):
            found["on_battery"] = power[0] == 0
    return found


def _vendor(name: str) -> str:
    lower = name.lower()
    return (
        "10de"
        if "nvidia" in lower
        else "1002"
        if "amd" in lower or "radeon" in lower
        else "8086"
        if "intel" in lower
        else "0000"
    )


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_: ClassVar = [
        ("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total", ctypes.c_uint64), ("free", ctypes.c_uint64),
        ("commit_limit", ctypes.c_uint64), ("commit_left", ctypes.c_uint64), ("virtual", ctypes.c_uint64),
        ("virtual_left", ctypes.c_uint64), ("extended", ctypes.c_uint64),
    ]  # fmt: skip
    length: int
    commit_limit: int
