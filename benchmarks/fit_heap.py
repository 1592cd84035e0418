"""What the C library's heap holds beside living tensors when a processor trains: the share HEAP of predict/memory.py.

    python benchmarks/fit_heap.py

Each case is a child process: the step runs a few times, the peak of its resident memory is read (less that after imports, less
weights and optimizer), then the living bytes of one step are watched (tracing/tracker.py). What is beyond them, less what
libraries read in, is the heap's; printed as a share of the living bytes, with the error of the peak when the case is left out.
"""

import json
import statistics
import subprocess
import sys

MiB = 2**20
CODE = 25.0
"""MiB of kernels' code that is read in when they first run: likely value of predict/memory.py's context"""
STEPS = 6

CASES = (
    ("classify-text", {"precision": "fp32", "micro_batch": 32, "checkpointing": False}),
    ("classify-text", {"precision": "fp32", "micro_batch": 8, "checkpointing": False, "dropout": 0.0}),
    ("classify-text", {"model": "distilbert-base", "precision": "fp32", "batch": 8, "micro_batch": 4, "checkpointing": False}),
    ("translate", {"precision": "fp32", "micro_batch": 32, "checkpointing": False}),
    ("pretrain", {"depth": 2, "micro_batch": 8, "batch": 32, "context": 128}),
    ("pretrain", {"depth": 4, "micro_batch": 16, "batch": 16}),
    ("pretrain", {"depth": 6, "micro_batch": 4, "batch": 16}),
)  # fmt: skip


def child(name: str, values: dict) -> dict[str, float]:
    """MiB: peak beyond imports and state, living bytes beyond state, state."""
    import torch

    from onecard.core.settings import make
    from onecard.execute.meter import Meter
    from onecard.execute.steps import load_code
    from onecard.tracing.storages import Storages
    from onecard.tracing.tracker import RealTrace, Watcher
    from onecard.workloads import get

    torch.set_num_threads(2)
    work = get(name)
    settings = make(work.settings, values)
    load_code(work, settings)
    peaks: list[int] = []
    meter = Meter(lambda name, seconds, peak: peaks.append(peak["rss"]))
    base = meter.baseline()
    with meter.phase("steps"):
        state = work.build(settings)
        for _ in range(STEPS):
            work.step(state)
    watcher = Watcher(Storages("cpu"), correct=True)
    with torch.autograd.set_multithreading_enabled(False), RealTrace(watcher):
        work.step(state)
    kept = sum(p.bytes.likely for p in work.cost(settings).phases[0].parts if p.name in ("weights", "optimizer"))
    return {"peak": (peaks[0] - base - kept) / MiB, "live": watcher.storages.peak / MiB, "state": kept / MiB}


def main() -> None:
    found = []
    for name, values in CASES:
        command = [sys.executable, __file__, name, json.dumps(values)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    shares = [(f["peak"] - CODE) / f["live"] - 1 for f in found]
    print(f"{'case':70} {'living':>9} {'beyond':>9} {'share':>6}  error of the peak, left out")
    for i, ((name, values), f, share) in enumerate(zip(CASES, found, shares, strict=True)):
        others = statistics.median(shares[:i] + shares[i + 1 :])
        error = (f["state"] + CODE + f["live"] * (1 + others)) / (f["state"] + f["peak"]) - 1
        case = f"{name} {' '.join(f'{k}={v}' for k, v in values.items())}"[:70]
        print(f"{case:70} {f['live']:5.0f} MiB {f['peak'] - f['live']:5.0f} MiB {share:6.2f}  {error:+.1%}")
    print(f"median share {statistics.median(shares):.2f}, from {min(shares):.2f} to {max(shares):.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(child(sys.argv[1], json.loads(sys.argv[2]))))
    else:
        main()
