"""Proves a matrix of plans on a CUDA machine: predicted first, then measured, each a Record; resumes where it stopped.

    python benchmarks/gpu_check.py                       # make gpu: all blocks, Records under records/<card>/
    python benchmarks/gpu_check.py --block lora --seconds 500
    python benchmarks/gpu_check.py --plans "RTX 4070 Ti" # no GPU: every step is planned (traced) for a card, nothing is run
    python benchmarks/gpu_check.py --dry                 # no GPU: tiny steps on the CPU, to see that the script works

Blocks, each of less than nine minutes and each step of less than twenty seconds: micro (copying, matmul, launches, link),
chat (7B in bf16, int8 and nf4, growing contexts), pretrain, lora, qlora, vision (ResNet-50, a detector), text (BERT),
diffusion (denoising, VAE) and caps (all of these steps under --budget 12GiB where the plan says that they fit, and two
where it says that they do not: these must run out of memory). Each step is a process of its own; one that is already in
the output is skipped. Ends with a table of predicted against measured, and the error of the newer half of the Records before
and after a calibration on the older half.
"""

import argparse
import datetime
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_cases
import msgspec
from gpu_matrix import BLOCKS, BUDGET, CHAT, MUST_FAIL, PRETRAIN, STEPS, TINY, name_of

from onecard import __version__, api
from onecard.core.errors import OnecardError
from onecard.core.record import Measurement, Record
from onecard.core.units import show_size

HERE = Path(__file__).parent
LIMIT, LONGEST = 6.0, 90.0
"""seconds of timed steps, and after which a child that hangs is ended"""


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
    job = {"case": case, "settings": settings, "device": device, "fraction": fraction, "tiny": tiny, "limit": LIMIT}
    began = time.time()
    found = answer([sys.executable, __file__, "--child", json.dumps(job)])
    rows = []
    for key in ("allocated", "reserved"):
        if key in predicted or key in found:
            rows.append(
                Measurement(name=f"memory.{key}", unit="bytes", predicted=predicted.get(key), measured=found.get(key))
            )
    if len(found["seconds"]) > 3:
        middle = sorted(found["seconds"][2:])[len(found["seconds"][2:]) // 2]
        promise = predicted.get("seconds")
        rows.append(Measurement(name="step_seconds", unit="s", predicted=promise, measured=middle))
        turned = None if promise is None else tuple(1 / s for s in reversed(promise))
        rows.append(Measurement(name="step_steps_per_s", unit="steps/s", predicted=turned, measured=1 / middle))
    return written(name, case, card, began, found["outcome"], tuple(rows), plan, found)


def answer(command: list[str]) -> dict[str, Any]:
    """The last JSON line of a child, or that it failed, and how."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"outcome": "failed", "error": f"no end after {LONGEST:.0f} s", "seconds": []}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        return dict(json.loads(lines[-1]))
    return {"outcome": "failed", "error": done.stderr.strip()[-500:] or f"code {done.returncode}", "seconds": []}


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
        id=secrets.token_hex(5), kind="prove", started=started, seconds=time.time() - began, outcome=outcome,
        plan={"workload": "gpu-check", "settings": {"step": name, "block": block}, "device": msgspec.to_builtins(card), **plan},
        requested={"step": name}, effective={"onecard": __version__}, environment=environment(card.kind), measurements=rows,
        samples={"step_seconds": found.get("seconds", [])}, error=found.get("error", ""),
        quality={k: found[k] for k in ("context", "phase") if k in found},
    )  # fmt: skip


def work(block: str, device: str, card: Any, tiny: bool) -> Iterator[tuple[str, Any]]:
    """(name, function that makes the Records) of each step of a block."""
    if block in STEPS:
        for case, settings in steps_of(block, tiny):
            yield (
                name_of(case, settings, None),
                lambda c=case, s=settings: [step_record(c, s, device, None, tiny, card)],
            )
    elif block == "caps":
        for case, settings in () if tiny else [step for steps in STEPS.values() for step in steps]:
            yield (
                name_of(case, settings, BUDGET),
                lambda c=case, s=settings: capped(c, s, device, card),
            )
        yield from () if tiny else proofs(BUDGET)
    elif block in ("chat", "pretrain"):
        yield from () if tiny else proofs(None, block)
    elif block == "micro":
        from onecard.machine.microbenchmarks import names

        for step in ("copy", "launch") if tiny else names(device, torch=True):
            yield step, lambda name=step: [micro(name, card, device, tiny)]


def steps_of(block: str, tiny: bool) -> list[tuple[str, dict[str, Any]]]:
    """Of a block; in a dry run the tiny ones of the same cases."""
    cases = {case for case, _ in STEPS[block]}
    return [(case, settings) for case, settings in (TINY if tiny else STEPS[block]) if case in cases]


def capped(case: str, settings: dict[str, Any], device: str, card: Any) -> list[Record]:
    """A step under the budget, where its plan says that it fits; of those that do not, the two of MUST_FAIL."""
    _, plan = predict(case, settings, card, BUDGET, False)
    if not plan["fits"] and (case, settings) not in MUST_FAIL:
        return []
    return [step_record(case, settings, device, BUDGET, False, card)]


def proofs(budget: int | None, block: str = "") -> Iterator[tuple[str, Any]]:
    """chat and pretrain are workloads: they are proven as such. Under a budget, those whose plan says that they fit."""
    for name, cases in (("chat", CHAT), ("pretrain", PRETRAIN)):
        if block and name != block:
            continue
        for settings in cases:
            yield name_of(name, settings, budget), lambda w=name, s=settings: proven(w, s, budget)


def proven(workload: str, settings: dict[str, Any], budget: int | None) -> list[Record]:
    """One proof; none where the budget is too small by its plan."""
    if budget is not None and api.plan(workload, budget=budget, **settings).verdict == "no":
        return []
    return [api.prove(workload, budget=budget, force=True, **settings)]


def micro(step: str, card: Any, device: str, tiny: bool) -> Record:
    """One microbenchmark, in a process of its own."""
    from onecard.machine.microbenchmarks import Job

    job = Job(device=device, threads=1, folder=".", steps=(step,), seconds=0.2 if tiny else 2.0)
    began = time.time()
    text = msgspec.json.encode(job).decode()
    found = answer([sys.executable, "-c", MICRO, text])
    rows: tuple[Measurement, ...] = ()
    samples = found.get("samples", [])
    if samples:
        middle = sorted(samples)[len(samples) // 2]
        rows = (Measurement(name=step, unit=found["unit"], predicted=None, measured=middle, note=found.get("how", "")),)
    error = str(found.get("error", ""))
    return written(
        step, "micro", card, began, "failed" if error else "ok", rows, {}, {"seconds": samples, "error": error}
    )


MICRO = "import sys; from onecard.machine.microbenchmarks import main; main(sys.argv[1])"


def planned(card: Any) -> int:
    """Trace every step for a card, with and without the budget, and print what is promised. Returns how many have no plan."""
    without = 0
    for steps in STEPS.values():
        for case, settings in steps:
            for budget in (None, BUDGET):
                name = name_of(case, settings, budget)
                try:
                    ranges, plan = predict(case, settings, card, budget, False)
                except OnecardError as error:
                    without += 1
                    print(f"{name:58} NO PLAN: {error.what}")
                    continue
                seconds = f"{ranges['seconds'][1]:8.4f} s" if "seconds" in ranges else "        "
                print(
                    f"{name:58} {show_size(ranges['reserved'][1]):>10} {seconds} {'fits' if plan['fits'] else 'no'}",
                    flush=True,
                )
    return without


def table(records: list[tuple[str, Record]]) -> str:
    """Predicted against measured; for a cap, whether the verdict was right."""
    lines = [f"{'step':58} {'outcome':8} {'figure':18} {'predicted':>12} {'measured':>12} {'error':>8}"]
    for name, record in records:
        for m in record.measurements:
            if m.measured is None or m.unit == "share":
                continue
            predicted = "" if m.predicted is None else f"{m.predicted[1]:.5g}"
            error = "" if m.error is None else f"{m.error:+.1%}"
            lines.append(
                f"{name[:58]:58} {record.outcome:8} {m.name[:18]:18} {predicted:>12} {m.measured:>12.5g} {error:>8}"
            )
        if not record.measurements:
            lines.append(f"{name[:58]:58} {record.outcome:8} {record.error[:60]}")
        if "fits" in record.plan and "under" in name:
            right = (record.outcome == "ok") == record.plan["fits"]
            lines.append(
                f"{name[:58]:58} {record.outcome:8} said {'fits' if record.plan['fits'] else 'no':4}: {'right' if right else 'WRONG'}"
            )
    return "\n".join(lines)


def summary(records: list[tuple[str, Record]], card: str) -> str:
    """How well it was predicted, and what a calibration on the older half does for the newer half."""
    from onecard.predict.calibrate import held_out

    known = [r for _, r in records]
    memory = [
        abs(m.error)
        for r in known
        for m in r.measurements
        if m.name in ("memory.reserved", "memory.peak") and m.error is not None
    ]
    rates = [m for r in known for m in r.measurements if m.name.endswith("_per_s") and m.predicted and m.measured]
    inside = sum(1 for m in rates if m.predicted and m.measured and m.predicted[0] <= m.measured <= m.predicted[2])
    lines = [f"{len(known)} Records; the longest step took {max((r.seconds for r in known), default=0):.1f} s"]
    if memory:
        lines.append(
            f"memory: median error {statistics.median(memory):.1%}, largest {max(memory):.1%}, of {len(memory)}"
        )
    if rates:
        off = statistics.median(abs(m.error or 0.0) for m in rates)
        lines.append(f"rates: median error {off:.1%}, {inside} of {len(rates)} inside their ranges")
    half = held_out(known, card)
    if half is not None:
        lines.append(
            f"held out: {half['rows']:.0f} rates of the newer half, median error {half['before']:.1%} before and "
            f"{half['after']:.1%} after a calibration on the older half"
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
    parser.add_argument("--block", choices=BLOCKS, action="append")
    parser.add_argument("--out", type=Path, help="a JSON lines file; default records/<card>/gpu_check.jsonl")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no new step after so long")
    parser.add_argument("--dry", action="store_true", help="tiny steps on the CPU")
    parser.add_argument("--plans", metavar="CARD", help="plan every step for this card and run nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child)
        return 0
    if chosen.plans:
        return 1 if planned(api.device(chosen.plans)) else 0
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
    for block in chosen.block or BLOCKS:
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
    print(summary(found, card.name))
    wrong = [n for n, r in found if "fits" in r.plan and "under" in n and (r.outcome == "ok") != r.plan["fits"]]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
