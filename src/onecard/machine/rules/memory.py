"""Memory: who holds it, what silently goes to the host, and what dies although memory is free."""

from onecard.core.finding import ERROR, NOTE, WARNING
from onecard.core.reading import Holder, Reading
from onecard.core.units import GiB, MiB, show_size
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values


def _list(holders: list[Holder]) -> str:
    return ", ".join(f"{h.name or 'process'} {h.pid} {show_size(h.bytes or 0)}" for h in holders[:4])


def others(f: Facts) -> Values | None:
    for r in f.readings:
        found = [h for h in r.holders or () if h.kind != "graphics" and (h.bytes or 0) > 256 * MiB]
        held = sum(h.bytes or 0 for h in found)
        if r.memory_total and held > 0.15 * r.memory_total:
            return {"held": show_size(held), "who": _list(found), "device": r.device}
    return None


def desktop(f: Facts) -> Values | None:
    for r in f.readings:
        found = [h for h in r.holders or () if h.kind == "graphics"]
        held = sum(h.bytes or 0 for h in found)
        if held > 1536 * MiB:
            return {"held": show_size(held), "who": _list(found), "device": r.device}
    return None


def nobody(f: Facts) -> Values | None:
    """Memory that no visible process holds; not where the driver does not tell (WSL2, Windows) or in a container."""
    if f.wsl or f.container or f.system != "linux":
        return None
    for r in f.readings:
        if r.holders is None or r.memory_used is None or any(h.bytes is None for h in r.holders):
            continue
        unexplained = r.memory_used - sum(h.bytes or 0 for h in r.holders)
        # The driver itself keeps up to about 600 MiB on cards without a process.
        if unexplained > 2 * GiB:
            return {"held": show_size(unexplained), "device": r.device}
    return None


def nearly_full(f: Facts) -> Values | None:
    """Where the driver does not tell who holds memory (Windows, WSL2), the sum is all there is to see."""
    for r in f.readings:
        told = r.holders is not None and all(h.bytes is not None for h in r.holders)
        if r.kind == "cpu" or told or not r.memory_total or (r.memory_used or 0) < max(3 * GiB, 0.5 * r.memory_total):
            continue
        return {"used": show_size(r.memory_used or 0), "total": show_size(r.memory_total), "device": r.device}
    return None


def spilled(f: Facts) -> Values | None:
    d = f.deep
    if d is None or d.full_slowdown is None or d.full_slowdown < 3 or not (f.system == "windows" or f.wsl):
        return None
    return {"times": f"{d.full_slowdown:.0f}"}


def paging_file(f: Facts) -> Values | None:
    if f.system != "windows" or not f.commit_limit or not f.memory_total:
        return None
    page = f.commit_limit - f.memory_total
    # Windows' own choice begins at 2 GiB or more and grows: less means that it was set by hand, or switched off.
    return {"page": show_size(max(0, page))} if page < 1.5 * GiB and f.memory_total < 64 * GiB else None


def emulated_bf16(f: Facts) -> Values | None:
    if not f.capability or float(f.capability) >= 8.0 or not f.torch or not f.torch.cuda:
        return None
    return {}


def little_ram(f: Facts) -> Values | None:
    largest = max((c.memory_total or 0 for c in f.cards), default=0)
    if f.wsl or f.container or not f.memory_total or largest < 6 * GiB or f.memory_total >= 0.75 * largest:
        return None
    return {"host": show_size(f.memory_total), "memory": show_size(largest)}


def ram_full(f: Facts) -> Values | None:
    if f.memory_available is None or not f.memory_total or f.memory_available > min(GiB, 0.08 * f.memory_total):
        return None
    return {"left": show_size(f.memory_available), "total": show_size(f.memory_total)}


def killed(f: Facts) -> Values | None:
    line = next((x for x in reversed(f.kernel_log) if "Out of memory: Killed" in x or "oom-kill" in x), None)
    return {"line": line} if line else None


def expandable(f: Facts) -> Values | None:
    setting = f.environment.get("PYTORCH_CUDA_ALLOC_CONF") or f.environment.get("PYTORCH_ALLOC_CONF") or ""
    if "expandable_segments:true" not in setting.lower() or not (f.system == "windows" or f.wsl):
        return None
    return {"setting": setting}


def no_caching(f: Facts) -> Values | None:
    return {} if f.environment.get("PYTORCH_NO_CUDA_MEMORY_CACHING") not in (None, "", "0") else None


def not_allocatable(f: Facts) -> Values | None:
    d = f.deep
    if (
        f.wsl
        or d is None
        or d.kind == "cpu"
        or d.allocated_share is None
        or d.allocated_share >= 0.8
        or not d.free_bytes
    ):
        return None
    return {"share": f"{d.allocated_share:.0%}", "free": show_size(d.free_bytes)}


def unified_limit(f: Facts) -> Values | None:
    if f.system != "darwin" or f.architecture != "arm64" or (f.memory_total or 99 * GiB) > 9 * GiB:
        return None
    return {"memory": show_size(f.memory_total or 0)}


def used(reading: Reading) -> float:
    """Share of memory in use, 0 where unknown."""
    return (reading.memory_used or 0) / reading.memory_total if reading.memory_total else 0.0


def low_precision_refused(f: Facts) -> Values | None:
    d = f.deep
    if d is None or d.kind == "cpu" or not d.unsupported:
        return None
    refused = {k: v for k, v in d.unsupported.items() if k in ("fp16", "bf16")}
    return {"types": ", ".join(f"{k} ({v})" for k, v in refused.items())} if refused else None


RULES = (
    Rule(
        id="memory-held-by-others", title="Other programs hold the card's memory", severity=WARNING, check=others,
        evidence="{held} of {device}: {who}", cause="What another program holds is not free for yours.",
        messages=("CUDA out of memory",),
        next={"any": "onecard watch", "linux": "nvidia-smi"}, looks_at="processes of NVML",
        source="https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/2295", date="2026-09-01",
    ),
    Rule(
        id="memory-held-by-desktop", title="The desktop holds much of the card's memory", severity=NOTE, check=desktop,
        evidence="{held} of {device}: {who}", cause="Screens, browsers and editors draw on this card.",
        next={"any": "attach the screen to the processor's own graphics, or close the largest of them"},
        looks_at="processes of NVML", source="https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1547",
        date="2026-09-01",
    ),
    Rule(
        id="memory-held-by-nobody", title="Memory of the card is held by no visible process", severity=WARNING, check=nobody,
        evidence="{held} of {device} belong to no process that can be seen",
        cause="A process that died badly, one of another user, or one in a container.",
        next={"any": "sudo fuser -v /dev/nvidia*"}, looks_at="used memory against the sum of processes",
        source="https://github.com/pytorch/pytorch/issues/35901", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="card-nearly-full", title="Much of the card's memory is in use", severity=WARNING, check=nearly_full,
        evidence="{used} of {total} of {device}; the driver does not say by whom",
        cause="Browsers, games and other programs hold it; above the limit Windows moves memory to RAM, and everything crawls.",
        next={"any": "Task Manager > Details > Select columns > Dedicated GPU memory (in Windows)",
              "linux": "nvidia-smi", "container": "nvidia-smi (on the host)",
              "wsl": "Task Manager > Details > Select columns > Dedicated GPU memory (in Windows)"},
        looks_at="used memory", source="https://nvidia.custhelp.com/app/answers/detail/a_id/5490", date="2026-09-01",
    ),
    Rule(
        id="spills-to-host", title="Full memory spills into host memory instead of failing", severity=WARNING, check=spilled,
        evidence="with the card nearly full a copy took {times} times as long",
        cause="Since driver 536.40 Windows moves what does not fit to RAM: nothing fails, everything crawls.",
        next={"any": 'NVIDIA Control Panel > Manage 3D settings > CUDA - Sysmem Fallback Policy > "Prefer No Sysmem Fallback"'},
        looks_at="deep test", source="https://nvidia.custhelp.com/app/answers/detail/a_id/5490", date="2026-09-01",
    ),
    Rule(
        id="small-paging-file", title="The paging file is small", severity=WARNING, check=paging_file,
        evidence="the paging file adds {page} to RAM",
        cause='Each worker process commits gigabytes for CUDA\'s libraries ("WinError 1455: the paging file is too small").',
        messages=("WinError 1455", "paging file is too small",),
        next={"any": "SystemPropertiesPerformance.exe (Advanced > Virtual memory > system managed), and fewer workers"},
        looks_at="commit limit", source="https://github.com/pytorch/pytorch/issues/59904", date="2026-09-01",
    ),
    Rule(
        id="bf16-emulated", title="This card has no bfloat16 units", severity=NOTE, check=emulated_bf16,
        evidence="{card} has compute capability {capability}; bfloat16 needs 8.0",
        cause="torch.cuda.is_bf16_supported() says True because it counts emulation; fp16 is the fast type here.",
        next={"any": "use fp16"}, looks_at="compute capability", source="https://github.com/MakazhanAlpamys/Soup/issues/387",
        date="2026-09-01",
    ),
    Rule(
        id="little-ram", title="Less RAM than the card has memory", severity=WARNING, check=little_ram,
        evidence="{host} RAM, {memory} on the card",
        cause="Weights pass through RAM: loading a model that fits the card can kill the process.",
        next={"any": "load .safetensors or GGUF files (they are mapped, not copied)"}, looks_at="RAM, NVML",
        source="https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/12081", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="ram-full", title="RAM is full", severity=WARNING, check=ram_full, evidence="{left} of {total} available",
        cause="Loading will swap or be killed.", next={"any": "close programs; onecard watch shows the rest"},
        looks_at="available memory", source="https://www.kernel.org/doc/html/latest/filesystems/proc.html", date="2026-09-01",
    ),
    Rule(
        id="killed-for-memory", title="The kernel killed a process for want of RAM", severity=WARNING, check=killed,
        evidence="{line}", cause="Host memory ran out, not the card's; the process just says Killed.",
        next={"any": "sudo dmesg | grep -i 'out of memory'"}, looks_at="kernel log",
        source="https://github.com/FlyMyAI/flymyai-lora-trainer/issues/11", date="2026-09-01",
    ),
    Rule(
        id="expandable-segments", title="An allocator setting that does nothing here", severity=NOTE, check=expandable,
        evidence="PYTORCH_CUDA_ALLOC_CONF={setting}",
        cause="expandable_segments is not supported on Windows and WSL2; torch's out-of-memory message advises it all the same.",
        next={"any": "unset PYTORCH_CUDA_ALLOC_CONF", "windows": "setx PYTORCH_CUDA_ALLOC_CONF \"\""}, looks_at="environment",
        source="https://github.com/pytorch/pytorch/issues/173049", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="no-memory-cache", title="torch's memory cache is switched off", severity=WARNING, check=no_caching,
        evidence="PYTORCH_NO_CUDA_MEMORY_CACHING is set",
        cause="Every tensor then asks the driver for memory: many times slower. Meant for debugging.",
        next={"any": "unset PYTORCH_NO_CUDA_MEMORY_CACHING", "windows": "setx PYTORCH_NO_CUDA_MEMORY_CACHING \"\""},
        looks_at="environment", source="https://docs.pytorch.org/docs/stable/cuda_environment_variables.html", date="2026-09-01",
    ),
    Rule(
        id="memory-not-allocatable", title="Less memory can be had than the driver calls free", severity=WARNING,
        check=not_allocatable, evidence="only {share} of {free} could be allocated",
        cause="Another process took it meanwhile, or a limit of a container or an instance holds.",
        next={"any": "onecard watch"}, looks_at="deep test", confidence="medium",
        source="https://github.com/pytorch/pytorch/issues/35901", date="2026-09-01",
    ),
    Rule(
        id="little-unified-memory", title="8 GiB serve both the system and the GPU", severity=NOTE, check=unified_limit,
        evidence="{memory} unified memory", cause="macOS lends the GPU about two thirds of it.",
        next={"any": "onecard can"}, looks_at="hw.memsize", source="https://github.com/ggml-org/llama.cpp/discussions/2182",
        date="2026-09-01",
    ),
    Rule(
        id="half-precision-refused", title="The device refuses half precision", severity=ERROR, check=low_precision_refused,
        evidence="{types}", cause="The build has no kernels of these types for the card.", messages=("not implemented for 'Half'",),
        next={"any": "{install_torch}"},
        looks_at="deep test", source="https://github.com/OptimalScale/LMFlow/issues/88", date="2026-09-01",
    ),
)  # fmt: skip
