"""NVIDIA cards through NVML (nvidia-ml-py): what a card is, what it does now, and who holds its memory.

Importing the library costs 40 ms and initialising the driver more, so nothing is imported before a driver is likely to
be there. Every value is asked for on its own: an old driver, a laptop, WSL2 or a virtual GPU refuses some of them, and
a refused value is None. Calls can hang on a card in a bad state: callers wrap them in `patience.within`.
"""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from onecard.core.reading import Holder, Reading

WINDOWS_DLL = r"C:\Windows\System32\nvml.dll"
LIBRARY_FOLDERS = ("usr/lib/wsl/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib",
                   "usr/local/nvidia/lib64", "run/opengl-driver/lib")  # fmt: skip

THROTTLE = {
    0x001: "idle",
    0x002: "application clocks set",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "heat (software)",
    0x040: "heat (hardware)",
    0x080: "power brake",
    0x100: "display clocks",
}
"""nvmlClocksEventReason bits of nvml.h in words."""


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One card as its driver describes it: names as NVML has them, bytes, hertz, watts."""

    index: int = 0
    name: str = "NVIDIA card"
    memory_total: int | None = None
    memory_free: int | None = None
    compute_capability: str | None = None
    uuid: str | None = None
    bus_id: str | None = None
    power_limit: float | None = None
    power_default: float | None = None
    power_max: float | None = None
    clock_max: float | None = None
    memory_clock_max: float | None = None
    bus_width: int | None = None
    cuda_cores: int | None = None
    link_generation_max: int | None = None
    link_width_max: int | None = None
    display_active: bool | None = None
    persistence: bool | None = None
    driver_model: str | None = None
    """wddm or tcc on Windows"""
    ecc: bool | None = None
    ecc_errors: int | None = None
    """uncorrected since the driver was loaded"""
    remap_pending: bool | None = None
    mig: bool | None = None


class Driver(NamedTuple):
    """cuda: the highest CUDA version that the driver supports, 12040 for 12.4."""

    version: str | None
    cuda: int | None
    error: str | None
    """what NVML said instead of working"""


def library(root: Path = Path("/")) -> str | None:
    """The driver's NVML library file, where one is found."""
    if platform.system() == "Windows" and root == Path("/"):
        return WINDOWS_DLL if Path(WINDOWS_DLL).is_file() else None
    for folder in LIBRARY_FOLDERS:
        file = root / folder / "libnvidia-ml.so.1"
        if file.exists():
            return f"/{folder}/libnvidia-ml.so.1"
    return None


def likely(root: Path = Path("/")) -> bool:
    """Whether asking NVML can be worth its 40 ms: a device node, or the driver's library."""
    return (root / "dev/nvidiactl").exists() or library(root) is not None


class Nvml:
    """An open connection to the driver. `Nvml.open()` gives None where there is no working one; close() when done."""

    def __init__(self, lib: Any, handles: list[Any]) -> None:
        self.lib = lib
        self.handles = handles

    @classmethod
    def open(cls) -> "Nvml | None":
        """None without a driver, without cards, or when the driver refuses."""
        return cls.open_or_say()[0]

    @classmethod
    def open_or_say(cls) -> "tuple[Nvml | None, str | None]":
        """The connection, or NVML's own words for what is wrong (None where simply nothing is installed)."""
        if not likely():
            return None, None
        try:
            import pynvml
        except ImportError:
            return None, "the Python package nvidia-ml-py is not installed"
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except Exception as error:
            return None, str(error) or type(error).__name__
        handles = []
        for index in range(count):
            with suppress(Exception):  # a lost card refuses its handle; the others still work
                handles.append((index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        return cls(pynvml, handles), None

    def close(self) -> None:
        """Give the driver's resources back."""
        with suppress(Exception):
            self.lib.nvmlShutdown()

    def driver(self) -> Driver:
        """Version of the driver and of the CUDA that it supports."""
        version = self._ask(lambda: _text(self.lib.nvmlSystemGetDriverVersion()))
        return Driver(version, self._ask(lambda: int(self.lib.nvmlSystemGetCudaDriverVersion_v2())), None)

    def cards(self) -> list[Card]:
        """All cards that answer, in the driver's order (by bus), without regard to CUDA_VISIBLE_DEVICES."""
        return [self._card(index, handle) for index, handle in self.handles]

    def readings(self) -> list[Reading]:
        """What each card does now. Cheap enough for several times a second."""
        return [self._reading(index, handle) for index, handle in self.handles]

    def _card(self, index: int, h: Any) -> Card:
        n, ask = self.lib, self._ask
        capability = ask(lambda: n.nvmlDeviceGetCudaComputeCapability(h))
        memory = ask(lambda: n.nvmlDeviceGetMemoryInfo(h))
        limits = ask(lambda: n.nvmlDeviceGetPowerManagementLimitConstraints(h))
        remapped = ask(lambda: n.nvmlDeviceGetRemappedRows(h))
        model = ask(lambda: int(n.nvmlDeviceGetCurrentDriverModel(h)))
        return Card(
            index=index,
            name=ask(lambda: _text(n.nvmlDeviceGetName(h))) or "NVIDIA card",
            memory_total=int(memory.total) if memory else None,
            memory_free=int(memory.free) if memory else None,
            compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
            uuid=ask(lambda: _text(n.nvmlDeviceGetUUID(h))),
            bus_id=ask(lambda: _text(n.nvmlDeviceGetPciInfo(h).busId)),
            power_limit=_watts(ask(lambda: n.nvmlDeviceGetEnforcedPowerLimit(h))),
            power_default=_watts(ask(lambda: n.nvmlDeviceGetPowerManagementDefaultLimit(h))),
            power_max=_watts(limits[1]) if limits else None,
            clock_max=_hertz(ask(lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM))),
            memory_clock_max=_hertz(ask(lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_MEM))),
            bus_width=ask(lambda: int(n.nvmlDeviceGetMemoryBusWidth(h))),
            cuda_cores=ask(lambda: int(n.nvmlDeviceGetNumGpuCores(h))),
            link_generation_max=ask(lambda: int(n.nvmlDeviceGetMaxPcieLinkGeneration(h))),
            link_width_max=ask(lambda: int(n.nvmlDeviceGetMaxPcieLinkWidth(h))),
            display_active=_flag(ask(lambda: n.nvmlDeviceGetDisplayActive(h))),
            persistence=_flag(ask(lambda: n.nvmlDeviceGetPersistenceMode(h))),
            driver_model={0: "wddm", 1: "tcc", 2: "mcdm"}.get(model) if model is not None else None,
            ecc=_flag(ask(lambda: n.nvmlDeviceGetEccMode(h)[0])),
            ecc_errors=ask(
                lambda: int(n.nvmlDeviceGetTotalEccErrors(h, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, n.NVML_VOLATILE_ECC))
            ),
            remap_pending=bool(remapped[2]) if remapped else None,
            mig=_flag(ask(lambda: n.nvmlDeviceGetMigMode(h)[0])),
        )

    def _reading(self, index: int, h: Any) -> Reading:
        n, ask = self.lib, self._ask
        memory = ask(lambda: n.nvmlDeviceGetMemoryInfo(h))
        rates = ask(lambda: n.nvmlDeviceGetUtilizationRates(h))
        return Reading(
            time=time.time(),
            device=ask(lambda: _text(n.nvmlDeviceGetName(h))) or "NVIDIA card",
            kind="cuda",
            index=index,
            memory_used=int(memory.used) if memory else None,
            memory_total=int(memory.total) if memory else None,
            utilization=rates.gpu / 100 if rates else None,
            clock=_hertz(ask(lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM))),
            clock_max=_hertz(ask(lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM))),
            memory_clock=_hertz(ask(lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM))),
            memory_clock_max=_hertz(ask(lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_MEM))),
            power=_watts(ask(lambda: n.nvmlDeviceGetPowerUsage(h))),
            power_limit=_watts(ask(lambda: n.nvmlDeviceGetEnforcedPowerLimit(h))),
            temperature=ask(lambda: float(n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU))),
            throttle=throttle(ask(lambda: int(n.nvmlDeviceGetCurrentClocksThrottleReasons(h)))),
            link_generation=ask(lambda: int(n.nvmlDeviceGetCurrPcieLinkGeneration(h))),
            link_generation_max=ask(lambda: int(n.nvmlDeviceGetMaxPcieLinkGeneration(h))),
            link_width=ask(lambda: int(n.nvmlDeviceGetCurrPcieLinkWidth(h))),
            link_width_max=ask(lambda: int(n.nvmlDeviceGetMaxPcieLinkWidth(h))),
            holders=self._holders(h),
        )

    def _holders(self, h: Any) -> tuple[Holder, ...] | None:
        compute = self._ask(lambda: self.lib.nvmlDeviceGetComputeRunningProcesses(h))
        graphics = self._ask(lambda: self.lib.nvmlDeviceGetGraphicsRunningProcesses(h))
        if compute is None and graphics is None:
            return None
        found: dict[int, Holder] = {}
        for kind, processes in (("compute", compute), ("graphics", graphics)):
            for p in processes or ():
                # Under WDDM and WSL2 the driver answers "not available", which the binding turns into None.
                used = int(p.usedGpuMemory) if p.usedGpuMemory is not None else None
                both = p.pid in found
                found[p.pid] = Holder(
                    pid=int(p.pid), name=process_name(int(p.pid)), bytes=used, kind="both" if both else kind
                )
        return tuple(sorted(found.values(), key=lambda x: -(x.bytes or 0)))

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer, or None: not supported, no permission, card lost."""
        try:
            return question()
        except Exception:
            return None


def throttle(bits: int | None) -> tuple[str, ...] | None:
    """Reasons in words; an unknown bit shows as its number."""
    if bits is None:
        return None
    return tuple(THROTTLE.get(1 << i, f"reason {1 << i:#x}") for i in range(bits.bit_length()) if bits >> i & 1)


def process_name(pid: int) -> str:
    """The name of a process, empty when it cannot be read (another user's, gone, or in another container)."""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        return telling_name(name, words)
    if os.name == "nt" or platform.system() == "Darwin":
        with suppress(Exception):
            import psutil

            process = psutil.Process(pid)
            return telling_name(process.name(), process.cmdline())
    return ""


def telling_name(name: str, words: list[str]) -> str:
    """ "python" says nothing: the script or module behind it does. Only base names, since a path names its owner."""
    if not name.lower().startswith("python"):
        return name
    rest = [w for w in words[1:] if w]
    for number, word in enumerate(rest):
        if word == "-m" and number + 1 < len(rest):
            return f"{name} -m {rest[number + 1]}"
        if word == "-c":
            return f"{name} -c"
        if not word.startswith("-"):
            return f"{name} {word.replace(chr(92), '/').rpartition('/')[2]}"
    return name


def link_rate(generation: int | None, width: int | None) -> float | None:
    """PCIe bytes/s in one direction after encoding: 0.25, 0.5, 0.985, 1.97, 3.94, 7.56 GB/s a lane (PCI-SIG base specifications)."""
    lane = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}.get(generation or 0)
    return lane * width if lane and width else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _watts(milliwatts: Any) -> float | None:
    return float(milliwatts) / 1000 if milliwatts else None


def _hertz(megahertz: Any) -> float | None:
    return float(megahertz) * 1e6 if megahertz else None


def _flag(value: Any) -> bool | None:
    return bool(value) if value is not None else None
