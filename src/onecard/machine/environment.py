"""The circumstances of a run, for its Record: system, versions, processor, driver. No names of people or hosts."""

import importlib.metadata
import platform
import sys
from typing import Any

LIBRARIES = ("torch", "transformers", "bitsandbytes", "peft", "trl", "xllamacpp", "gguf", "accelerate", "diffusers")


def environment(device_kind: str = "cpu") -> dict[str, Any]:
    """Values that a later reader needs to compare like with like. Unknown is None."""
    from onecard.machine.cpu import processor

    cpu = processor()
    found: dict[str, Any] = {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "virtual": sys.prefix != sys.base_prefix,
        "processor": cpu.name,
        "cores": cpu.cores,
        "memory_total": cpu.memory_total,
        "memory_available": cpu.memory_available,
        "versions": versions(),
    }
    if device_kind == "cuda":
        from onecard.machine.sampler import device_bytes

        found["driver"] = driver_version()
        # The baseline: what others hold of the card before the run begins.
        found["device_used"] = device_bytes()
    return found


def versions() -> dict[str, str]:
    """Installed versions of the libraries that decide memory and speed; what is not installed is left out."""
    found = {}
    for name in ("onecard", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def driver_version() -> str | None:
    """Of the NVIDIA driver; None without one."""
    from onecard.machine.sampler import nvml

    library = nvml()
    if library is None:
        return None
    try:
        return str(library.nvmlSystemGetDriverVersion())
    except library.NVMLError:
        return None
