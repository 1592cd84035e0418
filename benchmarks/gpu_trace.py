"""Traces of the very cases that gpu_collect.py measures on a GPU, against what a GPU once showed.

    python benchmarks/gpu_trace.py                        every machine under records/ that has raw/results.jsonl
    python benchmarks/gpu_trace.py --records FOLDER       one results folder (results.jsonl, events-*.tar)
    python benchmarks/gpu_trace.py --case gpt2-124m-bf16  one case (--case again for more)
    python benchmarks/gpu_trace.py --json

It needs no GPU: collect first on a machine that has one, commit what came back, and it stays a test. Printed: error of
allocated and reserved by case and phase; the allocator model on the recorded events; requests that only the real card
made, by the operator they follow (each is a scratch rule to come); the CUDA context; seconds per step. Exit code 1 where
a bar is missed, 0 where there is nothing to compare, which it says.
"""

import argparse
import collections
import gzip
import importlib
import importlib.util
import json
import statistics
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
from trace_accuracy import show

from onecard.core.cost import Events
from onecard.core.units import MiB
from onecard.predict import recordings
from onecard.predict.replay import label, replay

HERE = Path(__file__).parent
RECORDS = HERE.parent / "records"
BARS = {"transformer": (0.005, 0.01), "convolution": (0.02, 0.05), "quantized or diffusion": (0.02, 0.03)}
"""median error of allocated and reserved peaks, by kind of net"""


def kind(case: str) -> str:
    """Which bar judges a case."""
    if any(word in case for word in ("qlora", "nf4", "unet", "vae", "sdxl", "sd15")):
        return "quantized or diffusion"
    return "convolution" if any(word in case for word in ("resnet", "convnext", "conv")) else "transformer"


def results(folder: Path) -> list[dict[str, Any]]:
    """Rows of training and inference that ran with nothing capped; the last of each case."""
    found: dict[str, dict[str, Any]] = {}
    for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("block") in ("train", "infer") and row.get("outcome") == "ok" and not row.get("cap"):
            found[row["case"]] = row
    return [r for r in found.values() if any("peak_allocated" in p for p in r.get("phases", ()))]


def recorded_events(folder: Path) -> dict[str, recordings.Recording]:
    """Allocator events by case, from the archives that the collector writes."""
    found = {}
    for archive in sorted(folder.glob("events-*.tar")):
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                if file is not None and member.name.endswith(".json.gz"):
                    data = gzip.decompress(file.read())
                    found[member.name.removesuffix(".json.gz")] = msgspec.json.decode(data, type=recordings.Recording)
    return found


class Traced(msgspec.Struct, kw_only=True):
    """A case on fake CUDA."""

    events: Events
    ends: list[tuple[int, str]]
    """(index into the order of events, phase that ends there)"""
    operations: dict[str, Any]
    """of the last step, by phase"""


def trace_case(name: str, capability: tuple[int, int], multiprocessors: int) -> Traced:
    """Runs a case of the collector on fake tensors, with a mark where it marks."""
    import gpu_collect
    import torch

    for library in ("bitsandbytes", "transformers", "peft", "diffusers"):  # they read torch.cuda when they are imported
        if importlib.util.find_spec(library):
            importlib.import_module(library)
    from onecard.tracing.profiles import profile
    from onecard.tracing.session import Trace

    card = profile(f"sm_{capability[0]}{capability[1]}")
    trace = Trace(msgspec.structs.replace(card, multiprocessors=multiprocessors), steps=1)
    ends: list[tuple[int, str]] = []

    def mark(phase: str) -> None:
        ends.append((len(trace.storages.order), phase))
        if phase in ("optimizer0", "optimizer1"):  # the collector makes three steps: the last one is counted
            trace.step_begins()

    _, function, settings = gpu_collect.CASES[name]
    with trace.running():
        torch.manual_seed(0)
        torch.zeros(1, device="cuda")
        kept = function(torch, mark, **settings)
    operations = {p.name: p.operations for p in trace.cost().phases if p.operations}
    traced = Traced(events=trace.storages.events(), ends=ends, operations=operations)
    del kept
    return traced


def phases(traced: Traced) -> list[dict[str, Any]]:
    """Peaks between two marks, as the collector's counters show them."""
    run = replay(traced.events, timeline=True)
    rows, begin = [], 0
    for end, phase in traced.ends:
        before = begin - 1 if begin else 0
        allocated, reserved = run.allocated[before:end] or (0,), run.reserved[before:end] or (0,)
        rows.append(
            {
                "phase": phase, "peak_allocated": max(allocated), "peak_reserved": max(reserved),
                "allocated": allocated[-1], "reserved": reserved[-1],
            }
        )  # fmt: skip
        begin = end
    return rows


def only_real(real: recordings.Recording, traced: Traced, window: int = 60) -> collections.Counter[tuple[str, int]]:
    """Requests that the card made and the trace did not, by (operator that they follow, bytes).

    Both lists of events are walked together; where they differ, the smallest shift after which six events agree again
    tells what is missing on which side.
    """
    mine: list[int] = []
    operators: list[str] = []
    seen: set[int] = set()
    for number in traced.events.order:
        born = number not in seen
        seen.add(number)
        mine.append(traced.events.sizes[number] if born else -traced.events.sizes[number])
        operators.append(label(traced.events, number)[2] if born else operators[-1])
    theirs = [(s if a == "alloc" else -s) for a, s, _, _ in real.events if a in ("alloc", "free_completed")]
    found: collections.Counter[tuple[str, int]] = collections.Counter()
    i = j = 0
    while i < len(theirs) and j < len(mine):
        if theirs[i] == mine[j]:
            i, j = i + 1, j + 1
            continue
        for shift in range(1, window):
            ahead = next((x for x in range(shift + 1) if _agree(theirs, i + x, mine, j + shift - x)), None)
            if ahead is not None:
                break
        else:
            break
        for size in theirs[i : i + ahead]:
            if size > 0:
                found[operators[max(j - 1, 0)], size] += 1
        i, j = i + ahead, j + shift - ahead
    return found


def _agree(a: list[int], i: int, b: list[int], j: int, count: int = 6) -> bool:
    return a[i : i + count] == b[j : j + count] and len(a) - i >= count


def predicted_seconds(row: dict[str, Any], traced: Traced) -> float | None:
    """Seconds of one step on the row's card, by the law of speed; None for a card that the catalogue lacks."""
    from onecard.catalog import find_device
    from onecard.core.cost import Phase
    from onecard.core.errors import OnecardError
    from onecard.predict.time import time_phase

    try:
        card = find_device(row["gpu"].removeprefix("NVIDIA "))
    except OnecardError:
        return None
    work = [
        Phase(name=name, operations=operations) for name, operations in traced.operations.items() if name != "build"
    ]
    return sum(time_phase(phase, card, "torch").seconds.likely for phase in work) or None


def compare(folder: Path, only: list[str]) -> list[dict[str, Any]]:
    """One entry a case: phases side by side, replay of its recording, what is missing, context, seconds."""
    events = recorded_events(folder)
    entries = []
    for row in results(folder):
        if only and row["case"] not in only:
            continue
        entry: dict[str, Any] = {
            "case": row["case"],
            "kind": kind(row["case"]),
            "gpu": row.get("gpu"),
            "torch": row.get("torch"),
        }
        entries.append(entry)
        try:
            traced = trace_case(row["case"], tuple(row["capability"]), row["sms"])
        except Exception as error:  # a case that cannot be traced is a row of the answer
            entry["failed"] = f"{type(error).__name__}: {error}"
            continue
        ours = {p["phase"]: p for p in phases(traced)}
        entry["phases"] = [
            {"phase": p["phase"], "real": p, "traced": ours[p["phase"]]} for p in row["phases"] if p["phase"] in ours
        ]
        for quantity in ("allocated", "reserved"):
            pairs = [(p["traced"][f"peak_{quantity}"], p["real"][f"peak_{quantity}"]) for p in entry["phases"]]
            entry[f"{quantity}_error"] = max(a for a, _ in pairs) / max(b for _, b in pairs) - 1
        if row["case"] in events:
            entry["model"] = msgspec.to_builtins(recordings.replay(events[row["case"]]))
            missing = only_real(events[row["case"]], traced)
            entry["only_real"] = [
                {"after": operator, "bytes": size, "times": times}
                for (operator, size), times in missing.most_common(40)
            ]
        entry["context"] = row.get("context_bytes")
        entry["seconds"] = row.get("median_seconds")
        entry["predicted_seconds"] = predicted_seconds(row, traced) if row.get("gpu") else None
    return entries


def tables(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the entries say, as tables with their bars."""
    rows = []
    for e in entries:
        if "failed" in e:
            rows.append([e["case"], e["kind"], e["failed"][:40], "", "", ""])
            continue
        exact = "" if "model" not in e else f"{e['model']['same_address'] / max(e['model']['allocations'], 1):.2%}"
        speed = (
            "" if not (e["seconds"] and e["predicted_seconds"]) else f"{e['predicted_seconds'] / e['seconds'] - 1:+.0%}"
        )
        rows.append([e["case"], e["kind"], f"{e['allocated_error']:+.2%}", f"{e['reserved_error']:+.2%}", exact, speed])
    judged = []
    for name, bars in BARS.items():
        group = [e for e in entries if e["kind"] == name and "failed" not in e]
        for quantity, bar in zip(("allocated", "reserved"), bars, strict=True):
            if group:
                judged.append((name, quantity, statistics.median(abs(e[f"{quantity}_error"]) for e in group), bar))
    worst = [
        [e["case"], p["phase"], f"{p['real'][f'peak_{q}'] / MiB:,.0f}", f"{p['traced'][f'peak_{q}'] / MiB:,.0f}", q]
        for e in entries
        for p in e.get("phases", ())
        for q in ("allocated", "reserved")
        if abs(p["traced"][f"peak_{q}"] / max(p["real"][f"peak_{q}"], 1) - 1) > 0.01
    ]
    missing: collections.Counter[str] = collections.Counter()
    for e in entries:
        for m in e.get("only_real", ()):
            missing[m["after"]] += m["bytes"] * m["times"]
    contexts: dict[tuple[str, str], list[int]] = {}
    for e in entries:
        if e.get("context"):
            contexts.setdefault((str(e["gpu"]), str(e["torch"])), []).append(e["context"])
    return [
        {
            "title": "Peaks of traced cases against the card",
            "columns": ["case", "kind", "allocated", "reserved", "model exact", "seconds"],
            "rows": rows,
            "notes": [f"median {q} error of {n}: {m:.2%} (bar {b:.1%})" for n, q, m, b in judged],
            "bar": "; ".join(f"{n} {a:.1%} / {r:.0%}" for n, (a, r) in BARS.items()),
            "holds": bool(judged) and all(m <= b for _, _, m, b in judged),
        },
        {
            "title": "Phases that are more than 1 % off, MiB",
            "columns": ["case", "phase", "card", "traced", "quantity"], "rows": worst, "bar": "none", "holds": True,
        },
        {
            "title": "Requests that only the card made, by the operator before them",
            "columns": ["operator", "MiB in all"],
            "rows": [[o, f"{b / MiB:,.1f}"] for o, b in missing.most_common(30)], "bar": "none", "holds": True,
        },
        {
            "title": "CUDA context",
            "columns": ["card", "torch", "MiB"],
            "rows": [[g, t, f"{statistics.median(c) / MiB:,.0f}"] for (g, t), c in contexts.items()],
            "bar": "none", "holds": True,
        },
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """0 if the bars hold or nothing was collected, 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, help="a folder with results.jsonl")
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    folders = [given.records] if given.records else sorted(p.parent for p in RECORDS.glob("*/raw/results.jsonl"))
    folders = [f for f in folders if (f / "results.jsonl").exists()]
    entries = [e for folder in folders for e in compare(folder, given.case)]
    if not entries:
        text = (
            "No rows from a GPU yet: run benchmarks/gpu_collect.py on a machine with one and put what it writes into "
        )
        print(text + "records/<machine>/raw/. Nothing was compared.", file=sys.stderr if given.json else sys.stdout)
        if given.json:
            print("[]")
        return 0
    made = tables(entries)
    if given.json:
        print(json.dumps(entries, indent=1))
    else:
        print("\n\n".join(show(table) for table in made if table["rows"]))
    return 0 if all(t["holds"] for t in made) else 1


if __name__ == "__main__":
    sys.exit(main())
