"""Traces the steps behind published training rows and keeps what the comparison needs: `make profiles`.

    python benchmarks/make_profiles.py                 what is missing (resumes)
    python benchmarks/make_profiles.py --again         everything
    python benchmarks/make_profiles.py --only timm     cases whose key contains this

Each entry of profiles/training.json.gz: peaks of the allocator (allocated, reserved with nothing in the way), the smallest
capacity under which the step still runs (cached blocks go back, retries), operations of the last step by phase, and the
versions that made it. Needs torch, transformers, timm; no GPU.
"""

import argparse
import gzip
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import published_frame as frame
import training_cases

from onecard.core.units import MiB
from onecard.predict.replay import Replay, replay
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps

HERE = Path(__file__).parent
FILE = HERE / "profiles" / "training.json.gz"
LARGEST = 400
"""operations kept of a phase: the largest; the others are summed into one row a kind"""


def read() -> dict[str, Any]:
    """What was traced so far."""
    return json.loads(gzip.decompress(FILE.read_bytes())) if FILE.exists() else {}


def write(profiles: dict[str, Any]) -> None:
    """All of it at once, so that a half-written file never looks whole."""
    FILE.parent.mkdir(exist_ok=True)
    data = json.dumps(dict(sorted(profiles.items())), separators=(",", ":")).encode()
    temporary = FILE.with_suffix(".part")
    temporary.write_bytes(gzip.compress(data, 9, mtime=0))
    temporary.replace(FILE)


def smallest_capacity(events: Any, free: Replay) -> int:
    """Bytes under which the step just runs, to 8 MiB: between what lives at the peak and what it would reserve."""
    low, high = free.peak_requested // MiB, -(-free.peak_reserved // MiB)
    while high - low > 8:
        middle = (low + high) // 2
        if replay.__wrapped__(events, capacity=middle * MiB).oom is None:
            high = middle
        else:
            low = middle
    return high * MiB


def trace(case: training_cases.Case) -> dict[str, Any]:
    """One case."""
    module = importlib.import_module(case.module)
    began = time.perf_counter()
    traced = trace_steps(lambda: module.build(**case.arguments), profile(case.card_class), steps=case.steps)
    cost = traced.cost()
    assert cost.events is not None
    free = replay.__wrapped__(cost.events)
    phases: dict[str, list[Any]] = {}
    for phase in cost.phases:
        if phase.name != "build" and phase.operations:
            phases[phase.name] = msgspec.to_builtins(phase.operations)
    return {
        "allocated": free.peak_allocated, "reserved": free.peak_reserved, "requested": free.peak_requested,
        "smallest_capacity": smallest_capacity(cost.events, free), "events": len(cost.events.order),
        "seconds": round(time.perf_counter() - began, 1), "versions": cost.versions, "phases": phases,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """0 if every case has its profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--only", default="")
    given = parser.parse_args(arguments)
    profiles = read()
    if given.again:
        profiles = {key: entry for key, entry in profiles.items() if given.only not in key}
    wanted: dict[str, training_cases.Case] = {}
    for row in frame.read(HERE / "measurements"):
        for case in training_cases.cases(row):
            if given.only in case.key:
                wanted[case.key] = case
    failed = 0
    for n, (key, case) in enumerate(wanted.items()):
        if key in profiles:
            continue
        try:
            profiles[key] = trace(case)
        except Exception as error:
            failed += 1
            print(f"{key}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        entry = profiles[key]
        print(f"{n + 1}/{len(wanted)} {key}: {entry['allocated'] / MiB:,.0f} MiB, {entry['seconds']} s", flush=True)
        write(profiles)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
