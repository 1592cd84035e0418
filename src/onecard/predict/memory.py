"""Peak memory of a Cost on a Device: its parts, and what the runtime itself takes before any of them.

The context of a CUDA process (driver state, page tables, loaded kernels) is memory that no allocator reports. It is a part of
its own: a base per architecture, more for runtimes with more kernels. Public reports: 320 MiB for a bare context on a Titan V and about
1 GiB under torch when all kernels were loaded at once (pytorch/pytorch#28394); about 300 MB since CUDA 11.7 loads them on demand
(pytorch/pytorch#107667); 309 MiB above llama.cpp's buffers (ollama/ollama#6160), 254 MiB (llama.cpp tools/fit-params README). So
the base is a guess from few reports, and its range is wide on purpose.

On a CPU, and on a memory shared with the host, device and host are one: all parts add up, copies that only a card needs fall away.
"""

from collections.abc import Mapping

from onecard.core.cost import Cost, Part, Phase
from onecard.core.device import Device
from onecard.core.estimate import Memory
from onecard.core.ranges import Range, total
from onecard.core.units import MiB

CONTEXT = {
    "Maxwell": 110, "Pascal": 130, "Volta": 300, "Turing": 170, "Ampere": 250, "Ada": 260, "Hopper": 480, "Blackwell": 350,
}  # fmt: skip
"""MiB of a CUDA context with a handful of kernels loaded"""

RUNTIME = {"llama.cpp": 60, "torch": 90, "vllm": 350, "sglang": 350, "exllama": 60, "exllamav2": 60, "none": 0}
"""MiB that a runtime's own kernels and library handles add: cuBLAS and pools of temporaries (llama.cpp), kernels (torch), graphs (vLLM)"""

OTHER_KINDS = {"rocm": 400, "xpu": 400}

SHARED = ("cpu", "metal")

CACHING = ("torch", "exllama", "exllamav2")
"""Runtimes on torch's caching allocator, which reserves more than it hands out: segments of 2 and 20 MiB and holes between blocks.
For inference, where most memory is weights of one size, 0 to 5 % (a trace replayed through predict/allocator.py says it exactly)"""


HEAP = Range(0.25, 0.6, 0.9)
"""Share of what comes and goes in a step that the C library's heap holds beside it on a processor: freed blocks of up to 32 MiB stay
in it, with holes (mallopt(3), M_MMAP_THRESHOLD). Fitted by benchmarks/fit_heap.py, which leaves each workload out in turn"""

CHURN = ("activations", "gradients")
"""Parts that come and go in a step, on torch"""


def heap(parts: Mapping[str, Range]) -> Range:
    """Bytes that the heap of a processor's process holds beyond living blocks."""
    churn = total(parts[name] for name in CHURN if name in parts)
    return Range(HEAP.low * churn.low, HEAP.likely * churn.likely, HEAP.high * churn.high)


def context(device: Device, runtime: str) -> Range:
    """Bytes that a process takes of the device before it allocates anything."""
    if device.kind == "cpu":
        # Imports are not counted; thread stacks, arenas and the tokenizer are.
        # torch: code of its kernels that is read in when they first run.
        return (
            Range(0.0, 12.0 * MiB, 60.0 * MiB) if runtime == "llama.cpp" else Range(5.0 * MiB, 25.0 * MiB, 80.0 * MiB)
        )
    if device.kind == "metal":
        # Buffers are mapped with overlaps and kept resident by the system; how much of its limit that costs is not published.
        return Range(20.0 * MiB, 150.0 * MiB, 500.0 * MiB)
    base = CONTEXT.get(device.architecture or "", 280) if device.kind == "cuda" else OTHER_KINDS.get(device.kind, 280)
    if device.architecture == "Ampere" and device.memory_total > 36 * 2**30:
        base = 400  # the data-centre part: more engines and a larger page table
    likely = (base + RUNTIME.get(runtime, RUNTIME["torch"])) * MiB
    return Range(likely * 0.6, likely, likely * 1.5)


def held(phase: Phase, device: Device) -> tuple[list[Part], list[Part]]:
    """The parts of a phase that exist on this device and those on its host."""
    shared = device.kind in SHARED or device.unified
    on_device: list[Part] = []
    on_host: list[Part] = []
    for part in phase.parts:
        if (part.only == "cpu" and device.kind != "cpu") or (part.only == "card" and device.kind == "cpu"):
            continue
        (on_device if part.place == "device" or shared else on_host).append(part)
    return on_device, on_host


def memory(cost: Cost, device: Device, budget: int | None = None) -> Memory:
    """Peak of the phase that needs most. budget: bytes that may be used instead of what the device has."""
    largest = max(cost.phases, key=lambda p: total(part.bytes for part in held(p, device)[0]).high)
    on_device, on_host = held(largest, device)
    parts, bases = _by_name(on_device)
    host, host_bases = _by_name(on_host)
    before = context(device, cost.runtime)
    parts["context"] = parts["context"] + before if "context" in parts else before
    bases = host_bases | bases | {"context": "guess"}
    allocated = total(part.bytes for part in on_device)
    reserved = None
    if cost.runtime in CACHING and device.kind in ("cuda", "rocm"):
        slack = Range(0.0, allocated.likely * 0.015, allocated.high * 0.05 + 64 * MiB)
        parts["workspace"] = parts["workspace"] + slack if "workspace" in parts else slack
        reserved = allocated + slack
    if cost.runtime == "torch" and device.kind == "cpu" and (kept := heap(parts)).likely:
        parts["workspace"] = parts["workspace"] + kept if "workspace" in parts else kept
        bases = {**bases, "workspace": "measured"}
    fraction = cost.extra.get("reserves")
    usable = min(budget, device.usable) if budget is not None else device.usable
    if isinstance(fraction, float):
        parts["kv_cache"] = _reserved(parts, fraction * device.memory_total)
    return Memory(
        peak_bytes=total(parts.values()),
        phase=largest.name,
        parts=parts,
        host_parts=host,
        usable_bytes=usable,
        free_bytes=device.memory_free,
        host_usable_bytes=device.host_total if device.host_free is None else device.host_free,
        allocated=allocated,
        reserved=reserved,
        bases=bases,
    )


def elsewhere(cost: Cost, device: Device, parts: dict[str, Range]) -> dict[str, Range]:
    """The parts that another phase has more of, at their largest."""
    found: dict[str, Range] = {}
    for phase in cost.phases:
        for name, size in _by_name(held(phase, device)[0])[0].items():
            known = found.get(name, parts.get(name))
            if known is None or size.likely > known.likely:
                found[name] = size
    return found


def _by_name(found: list[Part]) -> tuple[dict[str, Range], dict[str, str]]:
    parts: dict[str, Range] = {}
    bases: dict[str, str] = {}
    for part in found:
        parts[part.name] = parts[part.name] + part.bytes if part.name in parts else part.bytes
        bases[part.name] = part.basis
    return parts, bases


def _reserved(parts: dict[str, Range], share: float) -> Range:
    """Keys and values where an engine fills its share of the card with pages of cache: what the other parts leave."""
    cache = parts.get("kv_cache", Range.exact(0.0))
    rest = total(r for name, r in parts.items() if name not in ("kv_cache", "context"))
    left = share - rest.likely
    return Range(max(cache.low, left * 0.97), max(cache.likely, left), max(cache.high, left * 1.02))
