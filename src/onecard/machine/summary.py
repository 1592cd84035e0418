"""Facts in a few lines for people: what machine this is, and what the deep test measured."""

from collections.abc import Callable

from onecard.core.units import show_size
from onecard.machine.builds import decode_cuda
from onecard.machine.facts import Facts


def summary(f: Facts) -> tuple[str, ...]:
    """System, cards, driver, PyTorch, memory, model cache: a line each, unknown things left out."""
    place = "WSL2" if f.wsl else f"in a {f.container} container" if f.container else ""
    system = " ".join(x for x in (f.distribution or f.system or "unknown", place) if x)
    lines = [
        ", ".join(
            x for x in (f"system   {system}", f.architecture, f.python.version and f"Python {f.python.version}") if x
        )
    ]
    for card in f.cards:
        memory = show_size(card.memory_total) if card.memory_total else "memory unknown"
        free = f", {show_size(card.memory_free)} free" if card.memory_free is not None else ""
        lines.append(f"card     {card.name}, {memory}{free}, compute capability {card.compute_capability or 'unknown'}")
    for r in f.readings:
        if r.kind != "cuda":
            lines.append(f"card     {r.device}, {show_size(r.memory_total) if r.memory_total else 'memory unknown'}")
    if not f.cards and not any(r.kind != "cuda" for r in f.readings):
        lines.append(f"card     {_other_adapters(f)}")
    if f.driver:
        cuda = f", CUDA up to {decode_cuda(f.driver_cuda)}" if f.driver_cuda else ""
        lines.append(f"driver   {f.driver}{cuda}")
    if f.torch:
        kind = f"CUDA {f.torch.cuda}" if f.torch.cuda else f"ROCm {f.torch.hip}" if f.torch.hip else "CPU build"
        lines.append(f"torch    {f.torch.version} ({kind})")
    else:
        lines.append("torch    not installed")
    if f.kernel_log_readable is False and f.has_nvidia:
        lines.append(
            "log      the kernel's log may not be read (sudo, or group adm): faults of the card are not seen there"
        )
    if f.memory_total:
        free = f", {show_size(f.memory_available)} available" if f.memory_available is not None else ""
        cores = f"{f.allowed or f.processors or 'unknown'} processors"
        lines.append(f"host     {cores}, {show_size(f.memory_total)} RAM{free}")
    hub = f.disks.get("hub")
    if hub is not None:
        lines.append(f"models   {hub.path}" + (f", {show_size(hub.free)} free" if hub.free is not None else ""))
    return tuple(lines)


def _other_adapters(f: Facts) -> str:
    if f.nvml_error:
        return f"the NVIDIA driver says: {f.nvml_error}"
    if f.system == "darwin":
        return next((a.partition(":")[2] for a in f.adapters), "none")
    return ", ".join(f.adapters) if f.adapters else "none: work runs on the CPU, and that is fine"


def measured(f: Facts) -> dict[str, str]:
    """What the deep test found, each with what it should be where that is known."""
    d = f.deep
    if d is None:
        return {}
    found: dict[str, str] = {"device": d.device or "none"}
    against = f" of {d.expected_name}'s" if d.expected_name and d.kind != "cpu" else " of what was measured before"
    if d.error:
        found["error"] = d.error
    if d.unavailable and f.has_nvidia:
        found["CUDA"] = f"not available: {d.unavailable}"
    if d.launched is not None and d.kind != "cpu":
        found["kernel launch"] = "works" if d.launched else "fails"
    for name, rate in d.flops.items():
        found[f"{name} products"] = f"{_tera(rate)}" + _share(rate, d.expected.get(name), _tera, against)
    for name, words in d.imports.items():
        found[f"import {name}"] = f"fails ({words})"
    for name, reason in d.unsupported.items():
        found[f"{name} products"] = f"not supported ({reason})"
    rates: tuple[tuple[str, float | None, str], ...] = (
        ("memory bandwidth", d.bandwidth, "bandwidth"),
        ("copy to the device", d.to_device, "link"),
        ("copy from the device", d.from_device, "link"),
    )
    for name, speed, key in rates:
        if speed is not None:
            found[name] = _giga(speed) + _share(speed, d.expected.get(key), _giga, against)
    if d.allocated_share is not None and d.allocated_bytes is not None:
        found["allocation"] = f"{show_size(d.allocated_bytes)}, {d.allocated_share:.0%} of the 90 % that were asked for"
    if d.full_slowdown is not None:
        found["nearly full"] = f"a copy takes {d.full_slowdown:.1f} times as long"
    if d.load is not None and d.load.link_generation:
        found["link under load"] = f"PCIe {d.load.link_generation} x{d.load.link_width}"
    if d.load is not None and d.load.throttle is not None:
        found["held back by"] = ", ".join(d.load.throttle) or "nothing"
    return found


def _giga(rate: float) -> str:
    return f"{rate / 1e9:.0f} GB/s" if rate >= 1e10 else f"{rate / 1e9:.1f} GB/s"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.0f} GFLOP/s"


def _share(found: float, expected: float | None, show: Callable[[float], str], against: str) -> str:
    if not expected:
        return ""
    return f", {found / expected:.0%}{against} {show(expected)}"
