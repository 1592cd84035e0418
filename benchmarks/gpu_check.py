"""Proves a matrix of plans on a CUDA machine: predicted first, then measured, each a Record; resumes where it stopped.

    python benchmarks/gpu_check.py                       # make gpu: all blocks, Records under records/<card>/
    python benchmarks/gpu_check.py --block steps --seconds 500
    python benchmarks/gpu_check.py --dry                 # no GPU: tiny steps on the CPU, to see that the script works

Blocks: micro (copying, matmul, launches, link), chat (7B in bf16, int8 and nf4, growing contexts), steps (LoRA, QLoRA,
ResNet-50, a detector, BERT, denoising, VAE) and caps (the same under --budget 12GiB, where the plan says that it fits, and
where it says that it does not: there it must run out of memory). Each step is a process of its own; one that is already
in the output is skipped. Ends with a table of predicted against measured.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_cases
import msgspec

from onecard import __version__, api
from onecard.core.errors import OnecardError
from onecard.core.record import Measurement, Record
from onecard.core.units import GiB, show_size

HERE = Path(__file__).parent
BUDGET = 12 * GiB

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("lora", {"length": n, "checkpointing": c}) for n in (512, 1024, 2048) for c in (True, False)),
    *(("qlora", {"length": n, "checkpointing": c}) for n in (512, 1024, 2048) for c in (True, False)),
    *(("resnet50", {"batch": b}) for b in (32, 64, 128, 256)),
    *(("detector", {"batch": b}) for b in (32, 64, 128)),
    *(("bert", {"batch": b}) for b in (32, 128)),
    ("denoise", {"family": "sd15", "size": 512}),
    ("denoise", {"family": "sdxl", "size": 1024}),
    ("vae", {"size": 512}),
    ("vae", {"size": 1024}),
)
CHAT: tuple[dict[str, Any], ...] = tuple(
    {
        "model": "llama-2-7b",
        "engine": "transformers",
        "quant": q,
        "context": n + 64,
        "prompt_tokens": n,
        "output_tokens": 32,
    }
    for q in ("bf16", "int8", "nf4")
    for n in (512, 2048, 4096)
)
PRETRAIN: tuple[dict[str, Any], ...] = ({"micro_batch": 8}, {"micro_batch": 32})
TINY = (("bert", {"batch": 2, "length": 16}), ("resnet50", {"batch": 2, "size": 64}))


def name_of(case: str, settings: dict[str, Any], budget: int | None) -> str:
    """One line that identifies a step; what is in the output already is found by it."""
    words = " ".join(f"{k}={v}" for k, v in settings.items())
    return f"{case} {words}{' under ' + show_size(budget) if budget else ''}".strip()


# ------------------------------------------------------------------ the child: one step on the real device


def child(text: str) -> None:
    """Build, two steps, timed steps; print one JSON line of peaks and seconds, or that memory ran out and where."""
    import torch

    job = json.loads(text)
    cuda = job["device"] == "cuda"
    if cuda and job["fraction"] is not None:
        torch.cuda.set_per_process_memory_fraction(job["fraction"])
    found: dict[str, Any] = {"outcome": "ok", "seconds": []}
    phase = "build"
    try:
        step = getattr(gpu_cases, job["case"])(device=job["device"], tiny=job["tiny"], **job["settings"])
        phase = "step"
        until = time.perf_counter() + job["limit"]
        while len(found["seconds"]) < 12 and (len(found["seconds"]) < 4 or time.perf_counter() < until):
            start = time.perf_counter()
            step()
            if cuda:
                torch.cuda.synchronize()
            found["seconds"].append(time.perf_counter() - start)
    except torch.OutOfMemoryError as error:
        found.update(outcome="oom", error=str(error).splitlines()[0])
    found["phase"] = phase
    if cuda:
        found.update(allocated=torch.cuda.max_memory_allocated(), reserved=torch.cuda.max_memory_reserved())
        free, total = torch.cuda.mem_get_info()
        found["context"] = total - free - torch.cuda.memory_reserved()
    print(json.dumps(found))


# ------------------------------------------------------------------ the parent: predict, measure, write down


def step_record(case: str, settings: dict[str, Any], device: str, budget: int | None, tiny: bool, card: Any) -> Record:
    """Predict a step from its trace, run it in a child, and put both into a Record."""
    name = name_of(case, settings, budget)
    predicted, plan = predict(case, settings, card, budget, tiny) if device == "cuda" else ({}, {})
    fraction = None
    if budget is not None and device == "cuda":
        fraction = max(0.0, (budget - plan.get("context", 0)) / card.memory_total)
    job = {"case": case, "settings": settings, "device": device, "fraction": fraction, "tiny": tiny, "limit": 6.0}
    began = time.time()
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = (
        json.loads(lines[-1]) if lines else {"outcome": "failed", "error": done.stderr.strip()[-500:], "seconds": []}
    )
    rows = []
    for key in ("allocated", "reserved"):
        if key in predicted or key in found:
            rows.append(
                Measurement(name=f"memory.{key}", unit="bytes", predicted=predicted.get(key), measured=found.get(key))
            )
    if len(found["seconds"]) > 3:
        middle = sorted(found["seconds"][2:])[len(found["seconds"][2:]) // 2]
        rows.append(Measurement(name="step_seconds", unit="s", predicted=predicted.get("seconds"), measured=middle))
    return written(name, "steps", card, began, found["outcome"], tuple(rows), plan, found)


def predict(
    case: str, settings: dict[str, Any], card: Any, budget: int | None, tiny: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges by name, and what the trace says of the budget: {"fits": bool, "context": bytes}."""
    target = f"{HERE / 'gpu_cases.py'}:{case}"
    traced = api.traced(target, on=card, budget=budget, **settings, **({"tiny": True} if tiny else {}))
    memory = traced.estimate.memory
    phases = [t.seconds for name, t in traced.estimate.time.items() if name != "build"]
    ranges: dict[str, Any] = {}
    for key in ("allocated", "reserved"):
        found = getattr(memory, key)
        exact = getattr(traced.replay, f"peak_{key}")
        ranges[key] = (found.low, found.likely, found.high) if found else (exact, exact, exact)
    if phases:
        ranges["seconds"] = tuple(sum(getattr(p, end) for p in phases) for end in ("low", "likely", "high"))
    return ranges, {"fits": traced.replay.oom is None, "context": traced.context}


def written(
    name: str,
    block: str,
    card: Any,
    began: float,
    outcome: str,
    rows: tuple[Measurement, ...],
    plan: dict[str, Any],
    found: dict[str, Any],
) -> Record:
    """The Record of one step."""
    from onecard.machine.environment import environment

    started = datetime.datetime.fromtimestamp(began, datetime.UTC).isoformat(timespec="seconds")
    return Record(
        id=f"{abs(hash((name, started))):x}"[:10], kind="prove", started=started, seconds=time.time() - began, outcome=outcome,
        plan={"workload": "gpu-check", "settings": {"step": name, "block": block}, "device": msgspec.to_builtins(card), **plan},
        requested={"step": name}, effective={"onecard": __version__}, environment=environment(card.kind), measurements=rows,
        samples={"step_seconds": found.get("seconds", [])}, error=found.get("error", ""),
        quality={k: found[k] for k in ("context", "phase") if k in found},
    )  # fmt: skip


def work(block: str, device: str, card: Any, tiny: bool) -> Iterator[tuple[str, Any]]:
    """(name, function that makes the Records) of each step of a block."""
    if block == "steps":
        for case, settings in TINY if tiny else STEPS:
            yield (
                name_of(case, settings, None),
                lambda c=case, s=settings: [step_record(c, s, device, None, tiny, card)],
            )
    elif block == "caps":
        for case, settings in () if tiny else STEPS:
            yield (
                name_of(case, settings, BUDGET),
                lambda c=case, s=settings: [step_record(c, s, device, BUDGET, tiny, card)],
            )
    elif block in ("chat", "pretrain"):
        for settings in () if tiny else CHAT if block == "chat" else PRETRAIN:
            for budget in (None, BUDGET):
                yield (
                    name_of(block, settings, budget),
                    lambda b=budget, s=settings, w=block: [api.prove(w, budget=b, force=True, **s)],
                )
    elif block == "micro":
        yield "micro", lambda: micro(card, device, tiny)


def micro(card: Any, device: str, tiny: bool) -> list[Record]:
    """Microbenchmarks of the device, one Record each."""
    from onecard.machine.microbenchmarks import Job, names, run

    steps = ("copy", "launch") if tiny else names(device, torch=True)
    found = []
    for step in run(Job(device=device, threads=1, folder=".", steps=steps, seconds=0.2 if tiny else 2.0)):
        rows = ()
        if step.samples:
            middle = sorted(step.samples)[len(step.samples) // 2]
            rows = (Measurement(name=step.name, unit=step.unit, predicted=None, measured=middle, note=step.how),)
        outcome = "failed" if step.error else "ok"
        found.append(written(step.name, "micro", card, time.time(), outcome, rows, {}, {"error": step.error}))
    return found


def table(records: list[tuple[str, Record]]) -> str:
    """Predicted against measured; for a cap, whether the verdict was right."""
    lines = [f"{'step':58} {'outcome':8} {'figure':18} {'predicted':>12} {'measured':>12} {'error':>8}"]
    for name, record in records:
        for m in record.measurements:
            predicted = "" if m.predicted is None else f"{m.predicted[1]:.5g}"
            error = "" if m.error is None else f"{m.error:+.1%}"
            lines.append(
                f"{name[:58]:58} {record.outcome:8} {m.name[:18]:18} {predicted:>12} {m.measured or 0:>12.5g} {error:>8}"
            )
        if "fits" in record.plan and "under" in name:
            right = (record.outcome == "ok") == record.plan["fits"]
            lines.append(
                f"{name[:58]:58} {record.outcome:8} said {'fits' if record.plan['fits'] else 'no':4}: {'right' if right else 'WRONG'}"
            )
    return "\n".join(lines)


def read(path: Path) -> list[tuple[str, Record]]:
    """(name, Record) of every whole line; a line that a kill cut short is left out and measured again."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            name, record = msgspec.json.decode(line, type=tuple[str, Record])
        except msgspec.DecodeError:
            continue
        found.append((name, record))
    return found


def append(path: Path, rows: list[tuple[str, Record]]) -> None:
    """Whole lines at the end; a line that a kill cut short is ended first, so that nothing is glued to it."""
    cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as file:
        file.write((b"\n" if cut else b"") + b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--block", choices=("micro", "chat", "pretrain", "steps", "caps"), action="append")
    parser.add_argument("--out", type=Path, help="a JSON lines file; default records/<card>/gpu_check.jsonl")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no new step after so long")
    parser.add_argument("--dry", action="store_true", help="tiny steps on the CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child)
        return 0
    card = api.device()
    if card.kind != "cuda" and not chosen.dry:
        print("no CUDA device here: nothing to check (--dry runs tiny steps on the CPU)")
        return 0
    device = "cpu" if chosen.dry else "cuda"
    slug = "".join(c if c.isalnum() else "-" for c in card.name.lower()).strip("-")
    out = chosen.out or HERE.parent / "records" / slug / "gpu_check.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {name for name, _ in read(out)}
    began = time.time()
    for block in chosen.block or ("micro", "steps", "chat", "pretrain", "caps"):
        for name, make in work(block, device, card, chosen.dry):
            if name in done or time.time() - began > chosen.seconds:
                continue
            print(f"  {name} ...", file=sys.stderr, flush=True)
            try:
                records = make()
            except OnecardError as error:
                print(f"  {name}: {error}", file=sys.stderr)
                continue
            append(out, [(name, record) for record in records])
    found = read(out)
    print(table(found))
    wrong = [n for n, r in found if "fits" in r.plan and "under" in n and (r.outcome == "ok") != r.plan["fits"]]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
