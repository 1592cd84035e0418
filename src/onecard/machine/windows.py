"""Graphics adapters on Windows as the registry knows them: names and memory of AMD and Intel cards, without a tool."""

import sys
from contextlib import suppress
from typing import NamedTuple

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
