"""Seconds of a phase on a device: each operation takes the largest of its limits, the host may be slower than all.

    operation = max(FLOPs / (unit's peak x share), bytes / (bandwidth x share)) + launches x latency of a kernel
    phase     = max(sum of its operations, launches x host's seconds to start one)

A device works while the host already starts the next kernels, so the host limits only where it is slower than the
device: that is why eager frameworks take as long for a 0.5B model as for a 3B one.
"""

import msgspec

from onecard.core.cost import Operation, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.predict import kernels
from onecard.predict.factors import Factors

COMPUTE, BANDWIDTH, LAUNCHES, LINK, HOST = "compute", "bandwidth", "launches", "link", "host"


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """One operation priced: likely seconds and the limit that set them."""

    operation: Operation
    seconds: float
    limiter: str


class PhaseSeconds(msgspec.Struct, frozen=True, kw_only=True):
    """One repeat of a phase priced."""

    seconds: Range
    limiter: str
    timed: tuple[Timed, ...]
    records: int = 0


def time_operation(operation: Operation, device: Device) -> Timed:
    """Likely seconds of one operation and what limits it."""
    kernel = kernels.find(operation, device)
    if operation.place == "link":
        link = device.link or 16e9  # PCIe 3.0 x16 where nothing is known
        return Timed(operation=operation, seconds=operation.bytes / link, limiter=LINK)
    host = operation.place == "host" and not device.unified
    bandwidth = (device.host_bandwidth or 40e9) if host else device.bandwidth
    memory = operation.bytes / (bandwidth * kernel.memory)
    rate = device.host_flops.get("fp32", 2e11) if host else kernels.peak(device, operation.compute)
    compute = operation.flops / (rate * kernel.compute) if rate else 0.0
    starts = operation.launches * kernel.latency
    longest = max(memory, compute)
    limiter = LAUNCHES if starts > longest else HOST if host else BANDWIDTH if memory >= compute else COMPUTE
    return Timed(operation=operation, seconds=longest + starts, limiter=limiter)


def time_phase(phase: Phase, device: Device, runtime: str, factors: Factors | None = None) -> PhaseSeconds:
    """Seconds of one repeat of a phase, as a range, with the limit that takes most of them."""
    timed = tuple(time_operation(o, device) for o in phase.operations)
    busy = sum(t.seconds for t in timed)
    host = sum(o.launches * kernels.find(o, device).host for o in phase.operations)
    shares: dict[str, float] = {}
    for t in timed:
        shares[t.limiter] = shares.get(t.limiter, 0.0) + t.seconds
    limiter = LAUNCHES if host > busy else max(shares, key=lambda name: shares[name]) if shares else ""
    likely = max(busy, host)
    spread = max((kernels.find(o, device).spread for o in phase.operations), default=0.0)
    records = 0
    if factors is not None:
        largest = max(timed, key=lambda t: t.seconds).operation.format if timed else ""
        factor = factors.find(runtime, phase.name, largest)
        if factor is not None:
            likely, spread, records = likely * factor.value, factor.spread, factor.records
    seconds = Range(likely / (1 + spread), likely, likely * (1 + spread))
    return PhaseSeconds(seconds=seconds, limiter=limiter, timed=timed, records=records)
