"""What a device reaches, one thing at a time: copying, matrix products, starting kernels, the link to the host, the disk.

    python -m onecard.machine.microbenchmarks '{"device": "cpu", "threads": 2, "folder": "...", "steps": ["copy"], "seconds": 2}'

A child program: it prints one JSON line for each step as soon as that step is done, so that a kill loses at most one;
it ends when its standard input does.
Each step warms up once, then repeats within its share of the time; the raw samples are kept, in units per second (or
seconds where less is better). On a GPU every timed stretch ends with a synchronisation, because a kernel that was only
started costs nothing yet.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

MATMUL_TYPES = ("fp32", "tf32", "fp16", "bf16", "int8")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Which steps, where, and for how long each."""

    device: str
    """as torch spells it"""
    threads: int
    folder: str
    """where the disk is read"""
    steps: tuple[str, ...]
    seconds: float = 2.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one microbenchmark found."""

    name: str
    unit: str
    """B/s, FLOP/s or s"""
    samples: tuple[float, ...]
    ceiling: str = ""
    """the number of the Device that it is held against: bandwidth, link, or a key of flops"""
    how: str = ""
    error: str = ""


def names(device: str, torch: bool) -> tuple[str, ...]:
    """The steps that make sense: without torch only what the standard library can do."""
    if not torch:
        return ("copy", "disk")
    sizes = (512, 1024, 2048) if device == "cpu" else (1024, 4096, 8192)
    types = ("fp32", "bf16", "int8") if device == "cpu" else MATMUL_TYPES
    products = [f"matmul {t} {s}x{s}x{s}" for t in types for s in sizes]
    thin = [f"matmul {types[1] if device == 'cpu' else 'fp16'} 1x4096x4096"]
    link = () if device == "cpu" else ("to device", "to device pinned", "from device", "from device pinned")
    return ("copy", *products, *thin, "launch", *link, "disk")


def run(job: Job) -> Iterator[Step]:
    """The steps one by one; one that fails says why and the next goes on."""
    for name in job.steps:
        try:
            yield _step(name, job)
        except Exception as error:  # whatever a driver or a missing kernel raises: it is this step's result
            yield Step(name=name, unit="", samples=(), error=f"{type(error).__name__}: {error}".splitlines()[0])


def _step(name: str, job: Job) -> Step:
    if name == "copy":
        return _copy_cpu(job) if job.device == "cpu" else _copy(job)
    if name.startswith("matmul "):
        _, unit, shape = name.split()
        m, n, k = (int(v) for v in shape.split("x"))
        return _matmul(name, unit, m, n, k, job)
    if name == "launch":
        return _launch(job)
    if name == "disk":
        return _disk(job)
    return _link(name, job)


def _samples(work: Callable[[], Any], wait: Callable[[], Any], seconds: float, inner: int = 1) -> list[float]:
    """Seconds of one call, several times: one warm-up, then at least three and as many as the time allows (at most 50)."""
    work()
    wait()
    until = time.perf_counter() + seconds
    found: list[float] = []
    while len(found) < 3 or (time.perf_counter() < until and len(found) < 50):
        start = time.perf_counter()
        for _ in range(inner):
            work()
        wait()
        found.append((time.perf_counter() - start) / inner)
    return found


def _torch(job: Job) -> tuple[Any, Callable[[], Any]]:
    import torch

    torch.set_num_threads(job.threads)
    if job.device == "cpu":
        return torch, lambda: None
    module = getattr(torch, job.device.partition(":")[0])
    return torch, module.synchronize


def _copy_cpu(job: Job) -> Step:
    from onecard.machine.bandwidth import measure

    found = [measure(job.threads, seconds=job.seconds / 3) for _ in range(3)]
    return Step(name="copy", unit="B/s", samples=tuple(f.rate for f in found), ceiling="bandwidth", how=found[0].how)


def _copy(job: Job) -> Step:
    """Device to device: every byte is read once and written once."""
    torch, wait = _torch(job)
    size = 1 << 28
    a = torch.empty(size, dtype=torch.uint8, device=job.device)
    b = torch.empty_like(a)
    times = _samples(lambda: b.copy_(a), wait, job.seconds, inner=4)
    rates = tuple(2 * size / t for t in times)
    return Step(name="copy", unit="B/s", samples=rates, ceiling="bandwidth", how="copy of 256 MiB on the device")


def _matmul(name: str, unit: str, m: int, n: int, k: int, job: Job) -> Step:
    torch, wait = _torch(job)
    types = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    torch.backends.cuda.matmul.allow_tf32 = unit == "tf32"
    if unit == "int8":
        # cuBLASLt wants more than 16 rows for int8
        a, b = (torch.randint(-8, 8, s, dtype=torch.int8, device=job.device) for s in ((m, k), (k, n)))
        product = partial(torch._int_mm, a, b)
    else:
        a, b = (torch.randn(s, dtype=types[unit], device=job.device) for s in ((m, k), (k, n)))
        product = partial(torch.matmul, a, b)
    flops = 2.0 * m * n * k
    inner = max(1, min(50, round(2e9 / flops))) if job.device == "cpu" else max(1, min(50, round(1e12 / flops)))
    with torch.inference_mode():
        times = _samples(product, wait, job.seconds, inner)
    return Step(name=name, unit="FLOP/s", samples=tuple(flops / t for t in times), ceiling=unit)


def _launch(job: Job) -> Step:
    """Seconds of one tiny operation in a long row of them: what eager code pays for each, however small the work."""
    torch, wait = _torch(job)
    a = torch.zeros(16, device=job.device)
    with torch.inference_mode():
        times = _samples(lambda: a.add_(1.0), wait, job.seconds / 2, inner=1000)
    return Step(name="launch", unit="s", samples=tuple(times), how="add_ of 16 numbers, 1000 in a row")


def _link(name: str, job: Job) -> Step:
    torch, wait = _torch(job)
    size = 1 << 27
    there = torch.empty(size, dtype=torch.uint8, device=job.device)
    here = torch.empty(size, dtype=torch.uint8, pin_memory=name.endswith("pinned"))
    target, source = (there, here) if name.startswith("to") else (here, there)
    times = _samples(lambda: target.copy_(source, non_blocking=True), wait, job.seconds / 2)
    return Step(name=name, unit="B/s", samples=tuple(size / t for t in times), ceiling="link", how="copy of 128 MiB")


def _disk(job: Job) -> Step:
    """Sequential read of a file that was just written and then dropped from the page cache where the system can do that."""
    path = Path(job.folder) / "onecard-disk-benchmark.bin"
    size, block = 1 << 28, 1 << 22
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            pattern = os.urandom(block)
            for _ in range(size // block):
                file.write(pattern)
            file.flush()
            os.fsync(file.fileno())
        rates = []
        dropped = False
        for _ in range(3):
            with path.open("rb", buffering=0) as file:
                with suppress(AttributeError, OSError):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    dropped = True
                start = time.perf_counter()
                while file.read(block):
                    pass
                rates.append(size / (time.perf_counter() - start))
    finally:
        path.unlink(missing_ok=True)
    how = "256 MiB, dropped from the page cache first" if dropped else "256 MiB, from the page cache"
    return Step(name="disk", unit="B/s", samples=tuple(rates), how=how)


def main(text: str) -> None:
    """Print one JSON line a step."""
    for step in run(msgspec.json.decode(text, type=Job)):
        print(json.dumps(msgspec.to_builtins(step)), flush=True)


def end_with_parent() -> None:
    """Leave as soon as standard input ends: whoever asked is gone, perhaps killed, and hears no answer."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="onecard-parent").start()


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1])
