"""The recorded transformer traced on fake CUDA, against the peaks that a real GPU recorded.

Judged is what a program takes over its start: the peak of the bytes allocated, less what lived when the recording began.
Recordings of a later step of the same process already hold cuBLAS workspaces (32 MiB each) at their start; as many
are taken off the trace's own. Peak reserved is judged only where the process was fresh.
"""

import time
from pathlib import Path
from typing import Any

import recorded_transformer

from onecard.core.units import MiB
from onecard.predict import recordings
from onecard.predict.replay import replay
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps

CASES: dict[str, dict[str, Any]] = {
    "transformer-2.7b-forward-128-b": {"context": 128, "forward_only": True},
    "transformer-2.7b-forward-512": {"context": 512, "forward_only": True},
    "transformer-2.7b-forward-bf16-256": {"context": 256, "forward_only": True, "bf16": True},
    "transformer-2.7b-step-128-a": {"context": 128},
    "transformer-2.7b-step-128-b": {"context": 128},
    "transformer-2.7b-step-256": {"context": 256},
}
FRESH = ("transformer-2.7b-forward-128-b", "transformer-2.7b-step-128-a")
CARD = "sm_90"
"""the recordings' card: 32 MiB of cuBLAS workspace and 132 multiprocessors show it"""
ALLOCATED, RESERVED = 0.005, 0.01
"""the bars"""


def table(folder: Path) -> dict[str, Any]:
    """One row a recording."""
    rows, facts = [], []
    for name, settings in CASES.items():
        path = folder / f"{name}.json.gz"
        if not path.exists():
            continue
        recording = recordings.read(path)
        real = recordings.replay(recording)
        began = time.perf_counter()
        trace = trace_steps(lambda settings=settings: recorded_transformer.build(**settings), profile(CARD), steps=1)
        seconds = time.perf_counter() - began
        ours = replay(trace.storages.events())
        workspace = profile(CARD).blas_workspace
        warm = workspaces_at_start(recording, workspace)
        over_start = ours.peak_allocated - ours.phases[0].allocated_after - warm * workspace
        wanted = real.peak_allocated - real.start_allocated
        error = over_start / wanted - 1
        reserved = ours.peak_reserved / real.recorded_peak_reserved - 1 if name in FRESH else None
        rows.append(
            [
                name.removeprefix("transformer-2.7b-"), f"{wanted / MiB:,.2f}", f"{over_start / MiB:,.2f}", f"{error:+.3%}",
                f"{real.recorded_peak_reserved / MiB:,.0f}" if reserved is not None else "",
                f"{ours.peak_reserved / MiB:,.0f}" if reserved is not None else "",
                f"{reserved:+.3%}" if reserved is not None else "", f"{seconds:.1f}",
            ]
        )  # fmt: skip
        facts.append(
            {
                "recording": name, "allocated_over_start": wanted, "traced_over_start": over_start, "error": error,
                "workspaces_at_start": warm, "reserved_error": reserved, "trace_seconds": seconds,
            }
        )  # fmt: skip
    holds = bool(facts) and all(
        abs(f["error"]) <= ALLOCATED and abs(f["reserved_error"] or 0) <= RESERVED for f in facts
    )
    return {
        "title": "The recorded transformer (3.4 billion parameters), traced without a GPU",
        "columns": ["recording", "MiB over start", "traced", "error", "reserved MiB", "traced", "error", "seconds"],
        "rows": rows,
        "bar": f"allocated {ALLOCATED:.1%}, reserved of a fresh process {RESERVED:.0%}",
        "holds": holds,
        "facts": facts,
    }


def workspaces_at_start(recording: recordings.Recording, size: int) -> int:
    """How many blocks of this size live before the first event."""
    live = sum(b[2] == size for s in recording.segments_at_end for b in s.blocks if b[0].startswith("active"))
    for action, bytes_, _, _ in recording.events:
        if bytes_ == size:
            live += {"alloc": -1, "free_completed": 1}.get(action, 0)
    return live
