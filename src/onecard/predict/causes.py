"""Why a run may have been slow: rules over what its Record observed, ranked by how much each can explain.

Only evidence counts: a cause without a figure from this very Record is not named. The bits of the throttle mask are NVML's
nvmlClocksEventReasons (NVML API reference, "Clocks Event Reasons").
"""

from collections.abc import Callable

from onecard.core.opinion import Cause
from onecard.core.record import Record
from onecard.core.units import show_size

POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
"""nvmlClocksEventReasonSwPowerCap, HwSlowdown, SwThermalSlowdown, HwThermalSlowdown, HwPowerBrakeSlowdown"""

Rule = Callable[[Record, str], Cause | None]


def causes(record: Record, rate: str) -> tuple[Cause, ...]:
    """What this Record's samples and environment say, most likely first."""
    found = [cause for rule in RULES if (cause := rule(record, rate)) is not None]
    return tuple(sorted(found, key=lambda c: -c.weight))


def _samples(record: Record, name: str) -> list[float]:
    return record.samples.get(name, [])


def _kind(record: Record) -> str:
    return str(record.plan.get("device", {}).get("kind", ""))


def _share(record: Record, bits: int) -> float:
    masks = _samples(record, "throttle")
    return sum(1 for m in masks if int(m) & bits) / len(masks) if masks else 0.0


def spilled(record: Record, rate: str) -> Cause | None:
    """The card was full: on Windows the driver then moves memory to the host without an error (NVIDIA a_id/5490)."""
    used = _samples(record, "device_used")
    total = record.plan.get("device", {}).get("memory_total")
    if not used or not total or max(used) < 0.985 * total:
        return None
    return Cause(
        name="spilled to host memory",
        evidence=f"the card held {show_size(max(used))} of {show_size(total)}",
        next="use less: --budget, a shorter context or a smaller quantisation; on Windows set Prefer No Sysmem Fallback",
        weight=0.9,
    )


def build(record: Record, rate: str) -> Cause | None:
    """A card is there, but the engine runs on the processor."""
    wanted = _kind(record) in ("cuda", "rocm", "metal")
    buffers = record.effective.get("buffers")
    if not wanted or not isinstance(buffers, list) or not buffers:
        return None
    places = {str(b.get("where", "")) for b in buffers}
    if any(not p.startswith("CPU") and not p.startswith("Host") for p in places):
        return None
    return Cause(
        name="CPU build",
        evidence=f"llama.cpp put everything in {', '.join(sorted(places))}",
        next="onecard setup (the wheel with CUDA stands on the project's own index)",
        weight=1.0,
    )


def hot(record: Record, rate: str) -> Cause | None:
    """Clocks held down by heat."""
    share = _share(record, HW_SLOWDOWN | SW_THERMAL | HW_THERMAL)
    degrees = max(_samples(record, "temperature"), default=None)
    if share < 0.1:
        return None
    heat = "" if degrees is None else f", up to {degrees:.0f} °C"
    return Cause(
        name="thermal throttle",
        evidence=f"in {share:.0%} of the samples{heat}",
        next="clean the fans, give it air",
        weight=0.8 * share,
    )


def capped(record: Record, rate: str) -> Cause | None:
    """Clocks held down by the power limit: normal under load, a reason only where arithmetic is the limit."""
    share = _share(record, POWER_CAP | POWER_BRAKE)
    if share < 0.5:
        return None
    watts = max(_samples(record, "power"), default=None)
    drawn = "" if watts is None else f", {watts:.0f} W"
    weight = 0.2 if rate.startswith("decode") else 0.4
    return Cause(
        name="power limit",
        evidence=f"in {share:.0%} of the samples{drawn}",
        next="nvidia-smi -q -d POWER shows the limit",
        weight=weight,
    )


def narrow(record: Record, rate: str) -> Cause | None:
    """A link narrower or older than the card's own, seen under load (an idle link is slow by design)."""
    widths, link = _samples(record, "pcie_width"), record.plan.get("device", {}).get("link")
    generations = _samples(record, "pcie_generation")
    if not widths or not generations or not link:
        return None
    per_lane = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9}
    best = max(per_lane.get(int(g), 0.0) * w for g, w in zip(generations, widths, strict=False))
    offloads = bool(record.plan.get("estimate", {}).get("memory", {}).get("host_parts", {}).get("weights"))
    if best == 0 or best > 0.6 * link:
        return None
    return Cause(
        name="narrow link",
        evidence=f"at most PCIe {max(generations):.0f} x{max(widths):.0f} under load, {best / 1e9:.1f} of {link / 1e9:.1f} GB/s",
        next="use the slot next to the processor; check riser and BIOS",
        weight=0.6 if offloads else 0.1,
    )


def busy_card(record: Record, rate: str) -> Cause | None:
    """Another process holds the card's memory, so it probably computes too."""
    used, own = _samples(record, "device_used"), _samples(record, "driver")
    if not used or not own or max(used) - max(own) < 1.5 * 1024**3:
        return None
    return Cause(
        name="another process on the card",
        evidence=f"{show_size(max(used) - max(own))} were held by others",
        next="onecard watch shows who",
        weight=0.5,
    )


def busy_processor(record: Record, rate: str) -> Cause | None:
    """On the CPU device: our threads did not get the cores that they asked for."""
    seconds, clock = _samples(record, "cpu_seconds"), _samples(record, "cpu_seconds_t")
    threads = record.effective.get("threads") or record.environment.get("ready", {}).get("threads")
    if _kind(record) != "cpu" or len(seconds) < 3 or not threads:
        return None
    rates = [(b - a) / (t - s) for a, b, s, t in zip(seconds, seconds[1:], clock, clock[1:], strict=False) if t > s]
    # Loading uses one thread, and the clock of the system counts in hundredths: neither the median nor the largest tells.
    got = sorted(rates)[(3 * len(rates)) // 4] / float(threads) if rates else 0.0
    if got > 0.85:
        return None
    return Cause(
        name="other work on the processor",
        evidence=f"{threads} threads got {got * float(threads):.1f} cores",
        next="end what else runs, or give fewer threads",
        weight=1 - got,
    )


def waiting(record: Record, rate: str) -> Cause | None:
    """The card waited for data: utilisation low although it had work."""
    shares = _samples(record, "utilisation")
    if len(shares) < 5 or _kind(record) == "cpu":
        return None
    middle = sorted(shares)[len(shares) // 2]
    if middle > 60:
        return None
    return Cause(
        name="loader-bound",
        evidence=f"the card was busy {middle:.0f} % of the time",
        next="more loader workers, data on a faster disk",
        weight=0.5,
    )


def attention(record: Record, rate: str) -> Cause | None:
    """Flash attention was asked for and not taken."""
    wanted, got = record.requested.get("flash_attention", True), str(record.effective.get("flash_attention", ""))
    if not wanted or got not in ("disabled", "off", "0", "False"):
        return None
    return Cause(name="attention without flash", evidence=f"flash attention: {got}", next="onecard doctor", weight=0.3)


RULES: tuple[Rule, ...] = (spilled, build, hot, capped, narrow, busy_card, busy_processor, waiting, attention)
