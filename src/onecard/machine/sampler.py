"""Samples a running process and its device from a thread of the parent, at well under 1 % cost.

One sample is a dict of numbers under fixed names, each in its own unit:

    rss, host_available                      bytes         (process; machine)
    cpu_seconds                              s             (user + system of the process)
    device_used, driver                      bytes         (whole card; this process, as the NVIDIA driver counts)
    utilisation, memory_utilisation          percent
    power W, clock Hz, memory_clock Hz, temperature deg C, throttle (NVML bit mask), pcie_generation, pcie_width,
    pcie_tx, pcie_rx                         bytes/s

What a driver does not tell is left out of the sample, never filled in. The interval grows with the length of the run,
so that a night of training has thousands of samples, not millions.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

Sample = dict[str, float]


@cache
def nvml() -> Any:
    """pynvml, initialised once; None on a machine without an NVIDIA driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the library's own exception class cannot be named if its import failed
        return None
    return pynvml


@cache
def handle(ordinal: int) -> Any:
    """NVML's handle of a card; None where there is no such card."""
    library = nvml()
    if library is None:
        return None
    try:
        return library.nvmlDeviceGetHandleByIndex(ordinal)
    except library.NVMLError:
        return None


def process_bytes(pid: int | None = None, ordinal: int = 0) -> int | None:
    """Device memory of one process as the driver counts it; None where it does not say (Windows, no GPU)."""
    card = handle(ordinal)
    if card is None:
        return None
    library = nvml()
    try:
        for process in library.nvmlDeviceGetComputeRunningProcesses(card):
            if process.pid == (pid or os.getpid()) and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
    except library.NVMLError:
        return None
    return None


def device_bytes(ordinal: int = 0) -> int | None:
    """Memory of a card that anybody holds now; None without NVML."""
    card = handle(ordinal)
    if card is None:
        return None
    try:
        return int(nvml().nvmlDeviceGetMemoryInfo(card).used)
    except nvml().NVMLError:
        return None


def card_sample(pid: int, ordinal: int = 0) -> Sample:
    """What NVML says of a card now; empty without one."""
    card = handle(ordinal)
    if card is None:
        return {}
    library = nvml()
    found: Sample = {}
    readers: dict[str, Callable[[], float]] = {
        "device_used": lambda: library.nvmlDeviceGetMemoryInfo(card).used,
        "utilisation": lambda: library.nvmlDeviceGetUtilizationRates(card).gpu,
        "memory_utilisation": lambda: library.nvmlDeviceGetUtilizationRates(card).memory,
        "power": lambda: library.nvmlDeviceGetPowerUsage(card) / 1e3,
        "clock": lambda: library.nvmlDeviceGetClockInfo(card, library.NVML_CLOCK_SM) * 1e6,
        "memory_clock": lambda: library.nvmlDeviceGetClockInfo(card, library.NVML_CLOCK_MEM) * 1e6,
        "temperature": lambda: library.nvmlDeviceGetTemperature(card, library.NVML_TEMPERATURE_GPU),
        "throttle": lambda: library.nvmlDeviceGetCurrentClocksThrottleReasons(card),
        "pcie_generation": lambda: library.nvmlDeviceGetCurrPcieLinkGeneration(card),
        "pcie_width": lambda: library.nvmlDeviceGetCurrPcieLinkWidth(card),
        "pcie_tx": lambda: library.nvmlDeviceGetPcieThroughput(card, library.NVML_PCIE_UTIL_TX_BYTES) * 1024,
        "pcie_rx": lambda: library.nvmlDeviceGetPcieThroughput(card, library.NVML_PCIE_UTIL_RX_BYTES) * 1024,
    }
    for name, read in readers.items():
        with suppress(library.NVMLError, AttributeError):
            found[name] = float(read())
    driver = process_bytes(pid, ordinal)
    if driver is not None:
        found["driver"] = float(driver)
    return found


def process_sample(pid: int) -> Sample:
    """What the system says of a process and of the host's memory now; without the process only of the host."""
    import psutil

    found: Sample = {"host_available": float(psutil.virtual_memory().available)}
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            found["rss"] = float(process.memory_info().rss)
            found["cpu_seconds"] = float(times.user + times.system)
    return found


class Sampler:
    """Calls `seen` with a sample every so often until it is stopped; `with Sampler(...)` does both."""

    def __init__(
        self, pid: int, seen: Callable[[Sample], None], *, ordinal: int | None = None, every: float = 0.1
    ) -> None:
        self.pid, self.seen, self.ordinal, self.every = pid, seen, ordinal, every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="onecard-sampler")

    def sample(self) -> Sample:
        """One sample now."""
        found = process_sample(self.pid)
        if self.ordinal is not None:
            found.update(card_sample(self.pid, self.ordinal))
        return found

    def _run(self) -> None:
        start = time.monotonic()
        while not self._done.wait(interval(time.monotonic() - start, self.every)):
            self.seen(self.sample())

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=5)


def interval(elapsed: float, first: float) -> float:
    """Seconds until the next sample: `first` for a minute, ten times that for an hour, then every ten seconds."""
    return first if elapsed < 60 else max(first, min(10 * first, 10.0)) if elapsed < 3600 else 10.0
