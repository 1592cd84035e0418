"""The devices of this machine: GPUs first, the CPU always last. No GPU is a normal state.

`probe()` asks everything that can answer, each with a deadline, and never raises. `this_device()` is what `plan` uses:
files and the driver's library only, no program, no child, no measurement.
"""

import datetime
import os
import platform
import time
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.device import Device
from onecard.core.units import GiB
from onecard.machine import measured
from onecard.machine.cpu import Processor, processor
from onecard.machine.nvml import Card, Nvml, likely
from onecard.machine.patience import within

DRM = Path("/sys/class/drm")
DRIVER_PATIENCE = 5.0
"""seconds: initialising a driver without persistence mode takes two or three"""


def probe() -> tuple[Device, ...]:
    """All devices, the best GPU first, the CPU last. Never raises; what does not answer in time is left out."""
    cpu = cpu_device()
    found = [*_nvidia(cpu), *_sysfs(cpu), *_apple(cpu), *_windows(cpu)]
    return (*sorted(found, key=lambda d: -d.memory_total), cpu)


def this_device() -> Device:
    """The device that work goes to by default: the GPU with the most memory, else the CPU."""
    return probe()[0]


def cpu_device(root: Path = Path("/")) -> Device:
    """The CPU and its RAM as a Device: measured rates where `measure` was called before, else guesses that say so."""
    cpu = processor(root)
    known = measured.recall(cpu)
    sources, uncertainty = {"*": "operating system"}, {}
    clock = cpu.clock
    if known is not None and known.bandwidth:
        rate = known.bandwidth
        busy = ", while other work ran" if known.disturbed else ""
        sources["bandwidth"] = f"measured {known.when}: {known.bandwidth_how}{busy}"
        uncertainty["bandwidth"] = 0.5 if known.disturbed else 0.15
    else:
        rate, sources["bandwidth"] = guessed_bandwidth(cpu)
        uncertainty["bandwidth"] = 0.6
    if known is not None and known.flops:
        flops, sources["flops"] = known.flops, known.flops_how
        uncertainty["flops"] = 0.5 if known.disturbed else 0.2
    else:
        from onecard.machine import arithmetic

        flops, sources["flops"] = arithmetic.guess(cpu)
        uncertainty["flops"] = 0.6
    if known is not None and known.pace is not None and known.pace.fresh(time.time()):
        now = known.pace
        rate, clock = rate * now.bandwidth, clock and clock * now.arithmetic
        flops = {name: value * now.arithmetic for name, value in flops.items()}
        for key, share in (("bandwidth", now.bandwidth), ("flops", now.arithmetic)):
            sources[key] += f"; of that {share:.0%} a moment ago"
            # What takes a share now may take another in a minute.
            uncertainty[key] = max(uncertainty[key], 0.5 * (1 - share))
    return Device(
        name=cpu.name,
        kind="cpu",
        architecture=next((s for s in ("avx512f", "avx2", "avx", "neon") if s in cpu.sets), None),
        memory_total=cpu.memory_total,
        memory_free=cpu.memory_available,
        memory_reserved=min(GiB, cpu.memory_total // 16),
        bandwidth=rate,
        flops=flops,
        multiprocessors=cpu.cores,
        clock=clock,
        l2=cpu.cache,
        unified=True,
        host_total=cpu.memory_total,
        host_free=cpu.memory_available,
        host_bandwidth=rate,
        host_flops=flops,
        features=cpu.sets,
        sources=sources,
        uncertainty=uncertainty,
    )


def guessed_bandwidth(cpu: Processor) -> tuple[float, str]:
    """Before it was measured: two channels of DDR4-3200 (51 GB/s) at 70 %, a third of that per core at most."""
    rate = min(36e9, 12e9 * cpu.cores)
    return rate, "guess: two channels of ordinary memory; not measured yet"


def is_measured() -> bool:
    """Whether `measure` has found all that it can on this CPU, while little else ran."""
    return _complete(measured.recall(processor()))


def _complete(known: measured.Measured | None) -> bool:
    from onecard.machine import arithmetic

    if known is None or known.disturbed:
        return False
    return bool(known.bandwidth) and bool(known.hashes) and (bool(known.flops) or not arithmetic.measurable())


def measure(again: bool = False) -> measured.Measured:
    """Memory bandwidth (at most 4 s) and arithmetic (a child, once) of this CPU; remembered for all later plans.

    Takes all usable cores for some seconds: called by prove, never by plan (`doctor --deep` keeps its own numbers too). Numbers that were
    taken while the machine was busy with other work are a lower bound: the next call measures again and keeps the larger.
    """
    from onecard.machine import arithmetic, bandwidth, pace

    cpu = processor()
    known = None if again else measured.recall(cpu)
    if known is not None and _complete(known):
        return known
    busy = load(cpu)
    memory = bandwidth.measure(cpu.cores, cpu.memory_available)
    sums = arithmetic.measure(cpu.cores)
    found = measured.Measured(
        processor=cpu.name,
        cores=cpu.cores,
        bandwidth=memory.rate,
        bandwidth_how=memory.how,
        flops=sums.flops if sums else {},
        flops_how=sums.how if sums else known.flops_how if known else "",
        hashes=pace.hashing(cpu.cores),
        when=datetime.datetime.now(datetime.UTC).date().isoformat(),
        load=busy,
    )
    result = measured.better(known, found) if known is not None else found
    measured.remember(cpu, result)
    return result


def look() -> None:
    """How much of its best the CPU reaches now (about a second on all cores); plans of the next minute and a half count with it.

    Nothing where it was not measured before: then it has no best.
    """
    from onecard.machine import pace

    cpu = processor()
    known = measured.recall(cpu)
    if known is None or not known.bandwidth or not known.hashes:
        return
    now = pace.look(cpu.cores, cpu.memory_available, known.hashes, known.bandwidth, known.bandwidth_how)
    measured.remember(cpu, msgspec.structs.replace(known, pace=now))


def load(cpu: Processor) -> float | None:
    """Load average of the last minute per processor; None where the system has none (Windows)."""
    try:
        return os.getloadavg()[0] / cpu.machine_logical
    except (OSError, AttributeError):
        return None


def _host(cpu: Device) -> dict[str, Any]:
    """The host's side of a GPU Device."""
    return {
        "host_total": cpu.memory_total,
        "host_free": cpu.memory_free,
        "host_bandwidth": cpu.bandwidth,
        "host_flops": cpu.flops,
    }


# Each reader is imported where its system or its files are there: plan asks for this machine at every start.


def _nvidia(cpu: Device) -> list[Device]:
    if not likely():
        return []
    from onecard.machine import naming

    nothing: list[Card] = []
    cards = within(DRIVER_PATIENCE, _nvml_cards, nothing)
    return [naming.from_nvml(card, _host(cpu)) for card in visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))]


def _nvml_cards() -> list[Card]:
    nvml = Nvml.open()
    if nvml is None:
        return []
    try:
        return nvml.cards()
    finally:
        nvml.close()


def visible(cards: list[Card], setting: str | None) -> list[Card]:
    """The cards that CUDA_VISIBLE_DEVICES leaves, by number or by the beginning of a UUID; an unknown one ends the list."""
    if setting is None:
        return cards
    chosen: list[Card] = []
    for item in (s.strip() for s in setting.split(",")):
        match = [
            c for c in cards if str(c.index) == item or (item.startswith("GPU-") and (c.uuid or "").startswith(item))
        ]
        if not match:
            break
        chosen.append(match[0])
    return chosen


def _sysfs(cpu: Device) -> list[Device]:
    if not DRM.is_dir():
        return []
    from onecard.machine import naming, sysfs

    found = []
    nothing: list[sysfs.Adapter] = []
    for a in within(2.0, sysfs.adapters, nothing):
        kind = {sysfs.AMD: "rocm", sysfs.INTEL: "xpu"}.get(a.vendor)
        # An integrated GPU borrows the RAM that the CPU device already stands for.
        if kind is None or (kind == "xpu" and a.name is None) or (kind == "rocm" and (a.memory_total or 0) < 3 * GiB):
            continue
        free = a.memory_total - a.memory_used if a.memory_total and a.memory_used is not None else None
        host = {**_host(cpu), "memory_free": free}
        device = naming.from_row(a.name, f"{kind} card {a.device}", kind, a.memory_total, host)
        if device is not None:
            found.append(device)
    return found


def _apple(cpu: Device) -> list[Device]:
    if platform.system() != "Darwin":
        return []
    from onecard.machine import apple, naming

    chip = within(4.0, apple.chip, None)
    if chip is None:
        return []
    host = {**_host(cpu), "unified": True, "memory_reserved": chip.memory_total - chip.working_set}
    name = f"{chip.name} {chip.gpu_cores}-core GPU" if chip.gpu_cores else chip.name
    device = naming.from_row(name, chip.name, "metal", chip.memory_total, host)
    return [device] if device is not None else []


def _windows(cpu: Device) -> list[Device]:
    if platform.system() != "Windows":
        return []
    from onecard.machine import naming, windows

    found = []
    nothing: list[windows.Adapter] = []
    for a in within(2.0, windows.adapters, nothing):
        kind = "rocm" if "Radeon" in a.name else "xpu" if "Arc" in a.name else None
        if kind and (a.memory_total or 0) >= 3 * GiB:
            device = naming.from_row(windows.plain(a.name), a.name, kind, a.memory_total, _host(cpu))
            if device is not None:
                found.append(device)
    return found
