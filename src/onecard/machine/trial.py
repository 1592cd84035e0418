"""The child of `doctor --deep`: `python -m onecard.machine.trial SECONDS` tries the device and prints a JSON line a stage.

Not versions but behaviour: launch a kernel, multiply in each type, copy both ways, read and write the device's memory,
allocate up to 90 % of what is free, import the libraries around torch. Each line holds all that is known so far, so that
a child that is killed at its deadline has still told what it did before, and what it was doing.
"""

import contextlib
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

MiB = 1024**2
EXTENSIONS = ("triton", "torchvision", "torchaudio", "bitsandbytes", "flash_attn", "xformers", "sageattention", "pyg_lib",
              "torch_scatter", "torch_sparse", "torch_cluster", "onnxruntime", "llama_cpp", "xllamacpp")  # fmt: skip
"""modules whose compiled part must fit torch, CUDA or the system"""


class Report:
    """What is known so far; every change is printed at once."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"kind": "cpu"}

    def add(self, **values: Any) -> None:
        """Print the whole report again with new values."""
        self.values |= values
        print(json.dumps(self.values), flush=True)


def main(seconds: float) -> None:
    """Try the best device that torch finds; without torch, the CPU's memory alone."""
    report = Report()
    report.add(stage="import")
    try:
        import torch
    except Exception as error:  # a broken library raises anything: OSError, ImportError, AttributeError
        if not isinstance(error, ModuleNotFoundError):
            report.add(error=f"import torch: {type(error).__name__}: {error}"[:400])
        on_cpu(report, None, seconds)
        return
    available, why = asked(torch)
    report.add(available=available, unavailable=why)
    try:
        if torch.cuda.is_available():
            on_gpu(report, torch, "cuda", seconds)
        elif hasattr(torch, "xpu") and torch.xpu.is_available():
            on_gpu(report, torch, "xpu", seconds)
        elif torch.backends.mps.is_available():
            on_gpu(report, torch, "mps", seconds)
        else:
            on_cpu(report, torch, seconds)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:400]
        report.add(error=text, **({"launched": False} if report.values.get("stage") == "launch" else {}))
        return
    imports(report, time.monotonic() + seconds)


def asked(torch: Any) -> tuple[bool, str | None]:
    """torch.cuda.is_available(), and where it is False although the build has CUDA: why, from its warning or its error."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        available = bool(torch.cuda.is_available())
    words = next((str(w.message) for w in reversed(told) if "CUDA" in str(w.message)), None)
    if not available and words is None and torch.version.cuda:
        try:
            torch.cuda.init()
        except Exception as error:
            words = str(error)
    return available, None if available or not words else " ".join(words.split())[:400]


def imports(report: Report, until: float) -> None:
    """Libraries with compiled parts, one after the other: only importing shows whether these fit torch and the system.

    The stage is printed before each, so that a crash names its library. After `until` the rest is left out.
    """
    failed: dict[str, str] = {}
    for name in EXTENSIONS:
        if time.monotonic() > until or find_spec(name) is None:
            continue
        report.add(stage=f"import {name}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                import_module(name)
        except BaseException as error:  # a library may end the process for its own reasons
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    report.add(imports=failed, stage="done")


def on_cpu(report: Report, torch: Any, seconds: float) -> None:
    """Bandwidth of RAM and, with torch, matrix products."""
    from onecard.machine import bandwidth
    from onecard.machine.cpu import processor

    cpu = processor()
    report.add(kind="cpu", device=cpu.name, stage="bandwidth")
    report.add(bandwidth=bandwidth.measure(cpu.cores, cpu.memory_available, min(3.0, seconds / 4)).rate)
    if torch is not None:
        from onecard.machine.matmul import with_torch

        report.add(stage="matmul")
        report.add(flops=with_torch(cpu.cores, min(3.0, seconds / 4))["flops"], launched=True)
    report.add(stage="done")


def on_gpu(report: Report, torch: Any, kind: str, seconds: float) -> None:
    """All stages on one GPU."""
    module = getattr(torch, kind)
    sync = module.synchronize
    name = torch.cuda.get_device_name(0) if kind == "cuda" else kind
    report.add(kind="rocm" if torch.version.hip else kind, device=name, stage="launch")
    if kind == "cuda":
        report.add(architectures=torch.cuda.get_arch_list(), cudnn=torch.backends.cudnn.version())
    x = torch.arange(1024, device=kind, dtype=torch.float32)
    total = float((x * 2 + 1).sum().item())
    if total != 1024 * 1024:
        raise RuntimeError(f"a sum came out as {total}, not 1048576")
    report.add(launched=True, stage="matmul")
    products(report, torch, kind, sync, seconds / 10)
    report.add(stage="copy")
    copies(report, torch, kind, sync)
    report.add(stage="bandwidth")
    free = module.mem_get_info()[0] if kind == "cuda" else 4 * 1024**3
    report.add(bandwidth=memory_rate(torch, kind, sync, free), free_bytes=int(free))
    if kind == "cuda":
        report.add(stage="allocate")
        allocate(report, torch, sync)
    report.add(stage="done")


def timed(work: Callable[[], Any], sync: Callable[[], None], seconds: float) -> float:
    """Seconds of one call: warmed up, then as many calls as fit, waited for once."""
    work()
    sync()
    start = time.perf_counter()
    work()
    sync()
    once = max(time.perf_counter() - start, 1e-6)
    count = max(1, min(200, int(seconds / once)))
    start = time.perf_counter()
    for _ in range(count):
        work()
    sync()
    return (time.perf_counter() - start) / count


def products(report: Report, torch: Any, kind: str, sync: Callable[[], None], seconds: float) -> None:
    """4096 x 4096 products by type; what the device refuses goes under "unsupported"."""
    size = 4096
    flops: dict[str, float] = {}
    refused: dict[str, str] = {}
    torch.backends.cuda.matmul.allow_tf32 = False
    types: list[tuple[str, Any]] = [("fp32", torch.float32), ("fp16", torch.float16)]
    native = kind != "cuda" or torch.version.hip or torch.cuda.get_device_capability()[0] >= 8
    if native:  # before Ampere bfloat16 is emulated, whatever is_bf16_supported() says
        types.append(("bf16", torch.bfloat16))
    for label, dtype in types:
        try:
            a, b = (torch.randn(size, size, device=kind, dtype=dtype) for _ in range(2))
            flops[label] = 2 * size**3 / timed(partial(torch.matmul, a, b), sync, seconds)
        except Exception as error:
            refused[label] = str(error).splitlines()[0][:120]
    try:
        a, b = (torch.randint(-8, 8, (size, size), device=kind, dtype=torch.int8) for _ in range(2))
        flops["int8"] = 2 * size**3 / timed(lambda: torch._int_mm(a, b), sync, seconds)
    except Exception as error:
        refused["int8"] = str(error).splitlines()[0][:120]
    report.add(flops=flops, unsupported=refused)
    if kind == "cuda" and not torch.version.hip:
        a, b = (torch.randn(size, size, device=kind, dtype=torch.float16) for _ in range(2))
        report.add(load=under_load(torch, lambda: torch.matmul(a, b), sync))


def under_load(torch: Any, work: Callable[[], Any], sync: Callable[[], None]) -> Any:
    """A Reading of the driver while about half a second of work is queued: link and clocks have woken up."""
    import msgspec

    from onecard.machine.nvml import Nvml

    once = timed(work, sync, 0.1)
    for _ in range(int(0.7 / once) + 1):
        work()
    time.sleep(0.35)
    nvml = Nvml.open()
    if nvml is None:
        sync()
        return None
    properties = torch.cuda.get_device_properties(0)
    readings = nvml.readings()
    uuid = str(getattr(properties, "uuid", ""))
    order = [c.index for c in nvml.cards() if uuid and uuid in (c.uuid or "")]
    mine = [r for r in readings if r.index in order] or [r for r in readings if r.device == properties.name]
    sync()
    nvml.close()
    return msgspec.to_builtins(mine[0]) if mine else None


def copies(report: Report, torch: Any, kind: str, sync: Callable[[], None]) -> None:
    """256 MiB to the device and back, from page-locked memory where it can be had."""
    size = 256 * MiB
    device = torch.empty(size, dtype=torch.uint8, device=kind)
    pinned = True
    try:
        host = torch.empty(size, dtype=torch.uint8, pin_memory=kind == "cuda")
    except RuntimeError:
        pinned, host = False, torch.empty(size, dtype=torch.uint8)
    report.add(
        pinned=pinned if kind == "cuda" else None,
        to_device=size / timed(lambda: device.copy_(host, non_blocking=True), sync, 0.3),
        from_device=size / timed(lambda: host.copy_(device, non_blocking=True), sync, 0.3),
    )


def memory_rate(torch: Any, kind: str, sync: Callable[[], None], free: int) -> float:
    """Bytes read and written a second by a copy within the device, far larger than its cache."""
    size = max(32 * MiB, min(1024 * MiB, free // 6))
    a, b = (torch.empty(size, dtype=torch.uint8, device=kind) for _ in range(2))
    return 2 * size / timed(lambda: b.copy_(a), sync, 0.5)


def allocate(report: Report, torch: Any, sync: Callable[[], None]) -> None:
    """Blocks of 256 MiB up to 90 % of what is free, each written to; then copies in the last blocks against the first."""
    torch.cuda.empty_cache()
    free = int(torch.cuda.mem_get_info()[0])
    size = 256 * MiB
    held: list[Any] = []
    try:
        while (len(held) + 1) * size <= 0.9 * free:
            block = torch.empty(size, dtype=torch.uint8, device="cuda")
            block.fill_(1)
            held.append(block)
        sync()
    except RuntimeError as error:
        report.add(error=str(error).splitlines()[0][:200])
    # Blocks are counted in whole; the share is of the 90 % that were asked for.
    wanted = int(0.9 * free) // size
    report.add(
        free_bytes=free,
        allocated_bytes=len(held) * size,
        allocated_share=round(len(held) / wanted, 4) if wanted else None,
    )
    if len(held) >= 6:
        first = timed(lambda: held[0].copy_(held[1]), sync, 0.1)
        last = timed(lambda: held[-1].copy_(held[-2]), sync, 0.1)
        report.add(full_slowdown=round(last / first, 2))


if __name__ == "__main__":
    main(float(sys.argv[1]))
