"""WSL2: the driver lives in Windows, memory is lent, and some limits do not show."""

from onecard.core.finding import ERROR, WARNING
from onecard.core.units import show_size
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

GUIDE = "https://docs.nvidia.com/cuda/wsl-user-guide/"


def version_1(f: Facts) -> Values | None:
    kernel = f.kernel or ""
    return {"kernel": kernel} if f.wsl and "Microsoft" in kernel and kernel.startswith("4.4.") else None


def no_libcuda(f: Facts) -> Values | None:
    if not f.wsl or f.container or version_1(f) or f.wsl_library != "" or not f.torch or not f.torch.cuda:
        return None
    return {}


def linux_driver(f: Facts) -> Values | None:
    if not f.wsl or f.container or not f.wsl_library or f.wsl_library.startswith("/usr/lib/wsl"):
        return None
    return {"library": f.wsl_library}


def blocked(f: Facts) -> Values | None:
    said = f.nvml_error or ""
    return {"error": said} if f.wsl and not f.cards and "blocked by the operating system" in said else None


def pinned(f: Facts) -> Values | None:
    return {} if f.wsl and f.deep is not None and f.deep.pinned is False else None


def overhead(f: Facts) -> Values | None:
    d = f.deep
    if not f.wsl or d is None or d.allocated_share is None or d.allocated_share >= 0.8 or d.free_bytes is None:
        return None
    return {"share": f"{d.allocated_share:.0%}", "free": show_size(d.free_bytes)}


def little_memory(f: Facts) -> Values | None:
    largest = max((c.memory_total or 0 for c in f.cards), default=0)
    if not f.wsl or not f.memory_total or not largest or f.memory_total >= 0.75 * largest:
        return None
    return {"host": show_size(f.memory_total), "memory": show_size(largest)}


def slow_disk(f: Facts) -> Values | None:
    hub = f.disks.get("hub")
    if not f.wsl or hub is None or hub.filesystem not in ("9p", "drvfs", "v9fs"):
        return None
    return {"path": hub.path}


RULES = (
    Rule(
        id="wsl-version-1", title="This is WSL 1", severity=ERROR, check=version_1, evidence="kernel {kernel}",
        cause="WSL 1 has no Linux kernel and no GPU.", next={"any": "wsl --set-version DISTRIBUTION 2 (in Windows)"},
        looks_at="kernel version", source="https://learn.microsoft.com/windows/wsl/compare-versions", date="2026-09-01",
    ),
    Rule(
        id="wsl-no-libcuda", title="WSL2 does not see Windows' driver", severity=ERROR, check=no_libcuda,
        evidence="no libcuda.so.1, neither in /usr/lib/wsl/lib nor elsewhere",
        cause="Windows has no NVIDIA driver with WSL support, or WSL is too old to mount it.",
        next={"any": "wsl --update (in Windows), then install the NVIDIA driver in Windows"},
        looks_at="/usr/lib/wsl/lib", source="https://github.com/microsoft/WSL/issues/8587", date="2026-09-01",
    ),
    Rule(
        id="wsl-linux-driver", title="A Linux driver was installed inside WSL2", severity=ERROR, check=linux_driver,
        evidence="the loader finds {library} before /usr/lib/wsl/lib/libcuda.so.1",
        cause="Only the driver in Windows counts; a Linux driver (also one that came with a toolkit package) hides it.",
        next={"any": "sudo apt purge 'libnvidia-*' 'nvidia-driver-*' && sudo ldconfig"},
        looks_at="libcuda.so.1 of the loader", source="https://github.com/microsoft/WSL/issues/9092", date="2026-09-01",
    ),
    Rule(
        id="wsl-gpu-blocked", title="Windows does not let WSL2 use the card", severity=ERROR, check=blocked,
        evidence='NVML says "{error}"', cause="Windows' driver and WSL do not fit each other: one of them is too old, or a server "
        "driver runs the card in TCC mode.",
        messages=("GPU access blocked by the operating system",),
        next={"any": "wsl --update && wsl --shutdown (in Windows), then the newest NVIDIA driver there"}, looks_at="NVML's answer",
        source="https://github.com/microsoft/WSL/issues/9938", date="2026-03-03",
    ),
    Rule(
        id="wsl-pinned-limit", title="WSL2 refuses page-locked memory", severity=WARNING, check=pinned,
        evidence="a small page-locked buffer could not be had",
        cause='WSL2 limits page-locked memory; it shows as "CUDA out of memory" while memory is free.',
        next={"any": "use pin_memory=False in data loaders"}, looks_at="deep test",
        source="https://github.com/microsoft/WSL/issues/8447", date="2026-09-01",
    ),
    Rule(
        id="wsl-hidden-overhead", title="WSL2 gives less memory than the driver calls free", severity=WARNING, check=overhead,
        evidence="only {share} of {free} could be allocated",
        cause="Windows keeps memory that the count inside WSL2 does not show; seen most on Blackwell cards.",
        next={"any": "onecard plan --budget SIZE with what could be allocated"}, looks_at="deep test",
        source="https://github.com/microsoft/WSL/issues/40401", date="2026-09-01",
    ),
    Rule(
        id="wsl-little-memory", title="WSL2 has less RAM than the card has memory", severity=WARNING, check=little_memory,
        evidence="{host} RAM in WSL2, {memory} on the card",
        cause="By default WSL2 gets half of the machine's RAM; weights pass through it.",
        next={"any": "set memory=24GB below [wsl2] in %UserProfile%\\.wslconfig, then wsl --shutdown"},
        looks_at="RAM, NVML", source="https://learn.microsoft.com/windows/wsl/wsl-config", date="2026-09-01",
    ),
    Rule(
        id="wsl-slow-disk", title="Models lie on a Windows disk", severity=WARNING, check=slow_disk,
        evidence="{path} is on a Windows disk seen through WSL2",
        cause="Files there pass through a network protocol: loading takes many times as long.",
        next={"any": "export HF_HOME=~/.cache/huggingface"}, looks_at="file system of the model cache",
        source="https://learn.microsoft.com/windows/wsl/filesystems", date="2026-09-01",
    ),
)  # fmt: skip
