"""How fast a phase could be at most on a device: beside a rate, its percent of that is comparable between cards.

    ceiling of bandwidth   units / (bytes that one repeat moves / bandwidth of the device)
    ceiling of arithmetic  units / sum over operations (FLOPs / peak of their arithmetic unit)

The second share is what the field calls MFU (PaLM, arXiv 2204.02311, appendix B) where all FLOPs are the model's. Both are
physical limits of the named peaks: a share above one says that a count or a peak is wrong.
"""

from onecard.core.cost import Cost, Phase
from onecard.core.device import Device


def ceilings(cost: Cost, device: Device) -> dict[str, dict[str, float]]:
    """Name of a rate -> {"bandwidth": units/s, "arithmetic": units/s}; what is unknown is left out."""
    found = {f"{p.name}_{p.unit}_per_s": _of_phase(p, device) for p in cost.phases if p.unit}
    return {name: limits for name, limits in found.items() if limits}


def _of_phase(phase: Phase, device: Device) -> dict[str, float]:
    here = [o for o in phase.operations if o.place == "device"]
    limits: dict[str, float] = {}
    moved = sum(o.bytes for o in here)
    if moved > 0 and device.bandwidth > 0:
        limits["bandwidth"] = phase.units * device.bandwidth / moved
    counted = [o for o in here if o.flops > 0]
    peaks = [_peak(o.compute, device) for o in counted]
    if counted and all(peaks):
        limits["arithmetic"] = phase.units / sum(o.flops / p for o, p in zip(counted, peaks, strict=True) if p)
    return limits


def _peak(compute: str, device: Device) -> float | None:
    """A device without a unit for fp16 sums adds them in fp32 at its fp16 rate (a CPU, a data-centre card)."""
    return device.flops.get(compute) or (device.flops.get("fp16") if compute == "fp16_acc16" else None)
