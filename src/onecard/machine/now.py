"""What all devices do now: NVIDIA through NVML, AMD through sysfs, and always the CPU with its largest processes.

An open Now keeps the driver's connection and the CPU's last counters, because a share of busy time needs two moments.
A driver that hangs shows as missing until it answers.
"""

import threading
import time
from contextlib import suppress

from onecard.core.reading import Holder, Reading
from onecard.machine import sysfs
from onecard.machine.cpu import Processor, processor
from onecard.machine.nvml import Nvml, process_name
from onecard.machine.patience import within

LARGEST = 6
"""processes that are listed by their memory"""


class Now:
    """Reads all devices; close it, or use it in a `with`."""

    def __init__(self) -> None:
        self.nvml = within(6.0, Nvml.open, None)
        self._asking: threading.Thread | None = None
        self.amd = [a for a in within(1.0, sysfs.adapters, _no_adapters()) if a.vendor == sysfs.AMD]
        self.cpu = processor()
        with suppress(Exception):
            import psutil

            psutil.cpu_percent(None)  # the first answer is meaningless: it starts the clock

    def readings(self) -> tuple[Reading, ...]:
        """GPUs first, the CPU last."""
        found: list[Reading] = []
        found += self._cards()
        found += [sysfs.reading(a, i) for i, a in enumerate(self.amd)]
        found.append(cpu_reading(self.cpu))
        return tuple(found)

    def _cards(self) -> list[Reading]:
        """NVIDIA cards; nothing while an earlier question hangs, so that threads do not pile up."""
        if self.nvml is None or (self._asking is not None and self._asking.is_alive()):
            return []
        found: list[list[Reading]] = []
        ask = self.nvml.readings
        self._asking = threading.Thread(target=lambda: found.append(ask()), daemon=True)
        self._asking.start()
        self._asking.join(2.0)
        return found[0] if found else []

    def close(self) -> None:
        """Give the driver's connection back."""
        if self.nvml is not None:
            self.nvml.close()

    def __enter__(self) -> "Now":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_adapters() -> list[sysfs.Adapter]:
    return []


def cpu_reading(cpu: Processor) -> Reading:
    """RAM, busy share since the last call, clock, temperature, and who holds most memory."""
    used = total = None
    busy = clock = heat = None
    fresh = processor()
    total = fresh.memory_total
    if fresh.memory_available is not None:
        used = fresh.memory_total - fresh.memory_available
    holders: tuple[Holder, ...] | None = None
    with suppress(Exception):
        import psutil

        busy = psutil.cpu_percent(None) / 100
        holders = largest_processes()
        frequency = psutil.cpu_freq()
        clock = frequency.current * 1e6 if frequency and frequency.current else None
        heat = _temperature()
    return Reading(
        time=time.time(), device=cpu.name, kind="cpu", memory_used=used, memory_total=total, utilization=busy, clock=clock,
        clock_max=cpu.clock, temperature=heat, holders=holders,
    )  # fmt: skip


def largest_processes() -> tuple[Holder, ...]:
    """The processes with the most resident memory."""
    import psutil

    sizes: list[tuple[int, int]] = []
    for process in psutil.process_iter(["pid", "memory_info"]):
        if process.info["memory_info"] is not None:
            sizes.append((process.info["memory_info"].rss, process.info["pid"]))
    largest = sorted(sizes, reverse=True)[:LARGEST]
    return tuple(Holder(pid=pid, name=process_name(pid), bytes=size) for size, pid in largest)


def _temperature() -> float | None:
    import psutil

    sensors = getattr(psutil, "sensors_temperatures", None)
    told = sensors() if sensors is not None else {}
    for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
        for sensor in told.get(name, ()):
            return float(sensor.current)
    return None
