"""Filling Facts from this machine: files, package metadata and NVML, without starting a program; in less than two seconds.

Every question is one of its own and all run side by side with one deadline, so a probe that hangs costs its own answer
and nothing else; one that talks nonsense too. Only a driver is waited for longer: without persistence mode it takes
seconds to wake up.
"""

import datetime
import os
import platform
import shutil
import sys
import sysconfig
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from onecard.machine import disks, linux, nvml, packages, sysfs, windows
from onecard.machine.cpu import processor, sysctl
from onecard.machine.facts import Facts, Python
from onecard.machine.nvml import Card, Nvml
from onecard.machine.patience import together, within

PATIENCE = 1.5
DRIVER_PATIENCE = 4.0

VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_PATH", "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "BNB_CUDA_VERSION", "HF_HOME",
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_DUPLICATE_LIB_OK", "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES", "HSA_OVERRIDE_GFX_VERSION", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "TORCH_CUDA_ARCH_LIST", "ONECARD_HOME",
)  # fmt: skip
"""Environment variables that decide whether and how a device is used; tokens and passwords are never read."""

PROGRAMS = (
    "nvcc",
    "cl",
    "gcc",
    "ninja",
    "docker",
    "nvidia-ctk",
    "nvidia-container-runtime",
    "nvidia-smi",
    "uv",
    "rocm-smi",
    "llama-server",
)


def collect() -> Facts:
    """This machine now. Never raises; what does not answer, or not sensibly, stays unknown."""
    environment = {n: os.environ[n] for n in VARIABLES if n in os.environ}
    system = {"Windows": "windows", "Darwin": "darwin"}.get(platform.system(), "linux")
    programs = {p: w for p in PROGRAMS if (w := shutil.which(p))}
    questions: dict[str, Callable[[], Any]] = {
        "packages": packages.versions,
        "installers": lambda: packages.built_here(("llama-cpp-python", "flash-attn", "bitsandbytes")),
        "files": lambda: packages.compiled_parts(nvml.likely()),
        "torch": packages.torch_here,
        "*server": lambda: {"server": packages.llama_server(programs.get("llama-server"))},
        "disks": lambda: disks.disks(environment),
        "incomplete_downloads": lambda: disks.incomplete_downloads(environment),
        "python": python,
        "load": _load,
        "open_files": _open_files,
        "*cpu": _of_cpu,
        "*amd": lambda: {"amd": _amd_readings()},
        **_of_system(system, environment, programs),
    }
    # The driver is asked beside all that, and waited for longer.
    told: dict[str, Any] = {}
    asking = threading.Thread(target=lambda: told.update(within_driver()), daemon=True)
    asking.start()
    answers = together(PATIENCE, questions)
    asking.join()
    values: dict[str, Any] = {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "system": system,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "host": platform.node() or None,
        "user": os.environ.get("USER") or os.environ.get("USERNAME"),
        "home": str(Path.home()),
        "environment": environment,
        "programs": programs,
    }
    for name, answer in answers.items():
        if not name.startswith("*"):
            values[name] = answer
        elif isinstance(answer, dict):
            values |= answer
    server, files = values.pop("server", None), values["files"]
    if server is not None and isinstance(files, dict | None):
        values["files"] = {**(files or {}), "llama-server": server}
    values |= told
    values["readings"] = (*told.get("readings", ()), *values.pop("amd", ()))
    return Facts(**sound(values))


def sound(values: dict[str, Any]) -> dict[str, Any]:
    """Those values that are of their field's type: nonsense from a probe is an unknown, not a crash of a rule."""
    import typing

    import msgspec

    kept = {}
    for name, kind in typing.get_type_hints(Facts).items():
        if values.get(name) is not None:
            with suppress(msgspec.MsgspecError, TypeError, ValueError):
                kept[name] = msgspec.convert(values[name], kind)
    return kept


def _of_cpu() -> dict[str, Any]:
    cpu = processor()
    return {
        "processors": cpu.machine_logical,
        "physical": cpu.physical,
        "allowed": cpu.logical,
        "limited_by": cpu.limited_by or None,
        "sets": cpu.sets,
        "memory_total": cpu.memory_total,
        "memory_available": cpu.memory_available,
    }


def python() -> Python:
    """The interpreter that runs us."""
    return Python(
        version=platform.python_version(),
        bits=64 if sys.maxsize > 2**32 else 32,
        virtual=sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ,
        managed=(Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists(),
    )


def within_driver() -> dict[str, Any]:
    """The NVIDIA driver's part, or that it is late."""
    library = nvml.library()
    if not nvml.likely():
        return {"nvml_library": library or ""}
    late: dict[str, Any] = {"nvml_error": "late"}
    return {"nvml_library": library, **within(DRIVER_PATIENCE, _nvml_or_why, late)}


def _nvml_or_why() -> dict[str, Any]:
    """An answer that makes no sense is not a late one."""
    try:
        return _nvml()
    except Exception as error:
        return {"nvml_error": f"{type(error).__name__}: {error}"[:200]}


def _nvml() -> dict[str, Any]:
    connection, error = Nvml.open_or_say()
    if connection is None:
        return {"nvml_error": error}
    try:
        driver = connection.driver()
        cards: list[Card] = connection.cards()
        return {
            # nvidia-smi's own words: without them an empty list could be taken for one that was not asked for.
            "nvml_error": None if cards else "No devices were found",
            "driver": driver.version,
            "driver_cuda": driver.cuda,
            "cards": tuple(cards),
            "readings": tuple(connection.readings()),
        }
    finally:
        connection.close()


def _amd_readings() -> tuple[Any, ...]:
    amd = [a for a in sysfs.adapters(tools=False) if a.vendor == sysfs.AMD]
    return tuple(sysfs.reading(a, i) for i, a in enumerate(amd))


def _of_system(system: str, environment: dict[str, str], programs: dict[str, str]) -> dict[str, Callable[[], Any]]:
    """Questions that one kind of system can answer, by the name of their field; "*name" answers for several fields."""
    if system == "linux":
        cudnn = [Path(entry) / "nvidia" / "cudnn" / "lib" for entry in sys.path if entry]
        return {
            "distribution": linux.distribution,
            "wsl": linux.is_wsl,
            "container": linux.container,
            "adapters": linux.adapters,
            "modules": linux.modules,
            "driver_module": linux.driver_module,
            "device_nodes": linux.device_nodes,
            "closed_nodes": linux.closed_nodes,
            "preserves_memory": linux.preserves_memory,
            "secure_boot": linux.secure_boot,
            "wsl_library": lambda: (linux.wsl_library(environment) or "") if linux.is_wsl() else None,
            "kernel_log": linux.kernel_log,
            "kernel_log_readable": linux.kernel_log_readable,
            "rocm": linux.rocm,
            "groups": _groups,
            "toolkit": lambda: linux.toolkit(environment),
            "cudnn_copies": lambda: linux.cudnn_copies(environment, cudnn),
            "docker": lambda: linux.docker(programs),
            "governor": linux.governor,
            "on_battery": linux.on_battery,
            "shm_total": lambda: _size_of(Path("/dev/shm")),
            "swap_total": _swap,
        }
    if system == "windows":
        return {"*windows": windows.facts}
    return {"adapters": _apple_adapters, "distribution": lambda: f"macOS {platform.mac_ver()[0]}"}


def _apple_adapters() -> tuple[str, ...]:
    name = sysctl("machdep.cpu.brand_string") or ""
    return (f"apple:{name}",) if "Apple" in name else ()


def _groups() -> tuple[str, ...]:
    import grp

    found = []
    for number in {*os.getgroups(), os.getgid()}:
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            found.append(str(number))
    return tuple(sorted(found))


def _size_of(path: Path) -> int | None:
    return shutil.disk_usage(path).total if path.is_dir() else None


def _swap() -> int | None:
    for line in linux.text(Path("/proc/meminfo")).splitlines():
        if line.startswith("SwapTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _open_files() -> int | None:
    try:
        import resource

        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError, ValueError):
        return None
