"""bench: what this device reaches, piece by piece and workload by workload, each held against its own ceiling.

Every step is a Record as soon as it is done, marked with the number of its bench: after a kill the next `bench` finds
them and goes on with the steps that are missing.
"""

import datetime
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from onecard import __version__
from onecard.core.device import Device
from onecard.core.errors import OnecardError
from onecard.core.places import cache, home, records_file
from onecard.core.record import Measurement, Record
from onecard.core.require import has
from onecard.core.score import Score, median, spread

TORCH_NAMES = {"cuda": "cuda", "rocm": "cuda", "metal": "mps", "xpu": "xpu", "cpu": "cpu"}

_PP512_TG128 = {"quant": "q4_k_m", "context": 1024, "prompt_tokens": 512, "output_tokens": 128}

SUITE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("pp512 tg128 1B q4_k_m", "chat", {"model": "llama-3.2-1b", **_PP512_TG128}),
    ("pp512 tg128 7B q4_k_m", "chat", {"model": "llama-2-7b", **_PP512_TG128}),
    ("gpt training step", "pretrain", {}),
)
"""(name, workload, settings): short proofs with fixed settings; one that does not fit or cannot run here says so"""

QUICK = ("pp512 tg128 1B q4_k_m", "gpt training step")


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One bench: an unfinished one is continued by the next call."""

    id: str
    device: str
    quick: bool
    started: str
    version: str = __version__
    finished: bool = False


Told = Callable[[str, Record | None], None]
"""Gets (name of a step, None) when it begins and (name, its Record) when it is done."""


def bench(*, quick: bool = False, told: Told = lambda name, record: None, fresh: bool = False) -> tuple[Score, ...]:
    """Microbenchmarks, then the suite; scores of all steps. `fresh` starts over instead of continuing."""
    from onecard.api.plans import device
    from onecard.store import records as store

    card = device()
    current = _unfinished(card, quick) if not fresh else None
    current = current or Bench(id=secrets.token_hex(4), device=card.name, quick=quick, started=_now())
    _keep(current)
    done = {
        r.effective["step"]: r
        for r in store.find(records_file(), kind="bench")
        if r.effective.get("bench") == current.id
    }
    for record in _steps(card, current, done, told):
        store.add(records_file(), record)
        done[record.effective["step"]] = record
        told(record.effective["step"], record)
    _keep(msgspec.structs.replace(current, finished=True))
    return tuple(score for record in done.values() for score in scores(record))


def _steps(card: Device, current: Bench, done: dict[str, Record], told: Told) -> Iterator[Record]:
    from onecard.machine.microbenchmarks import names

    torch_name = TORCH_NAMES[card.kind]
    wanted = [n for n in names(torch_name, has("torch")) if n not in done]
    if current.quick:
        wanted = [n for n in wanted if "512x512" not in n and "8192x" not in n]
    yield from _micro(card, current, torch_name, wanted, told)
    for name, workload, settings in SUITE:
        if name not in done and (not current.quick or name in QUICK):
            told(name, None)
            yield _proof(card, current, name, workload, settings)


def _micro(card: Device, current: Bench, torch_name: str, wanted: list[str], told: Told) -> Iterator[Record]:
    if not wanted:
        return
    from onecard.machine.microbenchmarks import Job, Step

    job = Job(
        device=torch_name,
        threads=card.multiprocessors or 1 if card.kind == "cpu" else 1,
        folder=str(cache()),
        steps=tuple(wanted),
        seconds=0.5 if current.quick else 2.0,
    )
    command = [sys.executable, "-m", "onecard.machine.microbenchmarks", msgspec.json.encode(job).decode()]
    waiting = list(wanted)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        told(waiting[0], None)
        for line in child.stdout:
            step = msgspec.convert(json.loads(line), Step)
            yield _micro_record(card, current, step)
            waiting.remove(step.name)
            if waiting:
                told(waiting[0], None)
    for name in waiting:
        lost = Step(name=name, unit="", samples=(), error=f"the measuring process ended with code {child.returncode}")
        yield _micro_record(card, current, lost)


def _ceiling(card: Device, key: str) -> float | None:
    if key in ("bandwidth", "link"):
        value: float | None = getattr(card, key)
        return value
    return card.flops.get(key)


def _micro_record(card: Device, current: Bench, step: Any) -> Record:
    found = [
        Measurement(name=step.name, unit=step.unit, predicted=None, measured=median(list(step.samples)), note=step.how)
    ]
    return _record(
        card,
        current,
        step.name,
        outcome="failed" if step.error else "ok",
        measurements=tuple(found) if step.samples else (),
        samples={step.name: list(step.samples)},
        quality={"ceiling": _ceiling(card, step.ceiling)},
        error=step.error,
    )


def _proof(card: Device, current: Bench, name: str, workload: str, settings: dict[str, Any]) -> Record:
    from onecard.api.plans import workloads
    from onecard.api.runs import prove

    if workload not in workloads():
        return _record(card, current, name, outcome="failed", error=f"there is no workload {workload}")
    try:
        proof = prove(workload, **settings)
    except OnecardError as error:
        return _record(card, current, name, outcome="failed", error=str(error).replace("\n", "; "))
    rates = tuple(m for m in proof.measurements if m.name.endswith("_per_s"))
    return _record(
        card, current, name, outcome=proof.outcome, measurements=rates, error=proof.error, quality={"record": proof.id}
    )


def _record(card: Device, current: Bench, step: str, *, outcome: str, **rest: Any) -> Record:
    from onecard.machine.environment import environment

    return Record(
        id=secrets.token_hex(5),
        kind="bench",
        plan={"workload": "bench", "settings": {"step": step}, "device": msgspec.to_builtins(card)},
        started=_now(),
        seconds=0.0,
        outcome=outcome,
        requested={"step": step, "quick": current.quick},
        effective={"bench": current.id, "step": step, "quick": current.quick},
        environment=environment(),
        **rest,
    )


def scores(record: Record) -> Iterator[Score]:
    """The figures of one step."""
    step = record.effective["step"]
    for found in record.measurements:
        samples = record.samples.get(found.name) or [found.measured or 0.0]
        yield Score(
            area=_area(step),
            name=step if found.name == step else f"{step} {found.name.removesuffix('_tokens_per_s')}",
            unit=found.unit,
            median=median(samples),
            spread=spread(samples) if len(samples) > 1 else 0.0,
            samples=len(samples),
            ceiling=record.quality.get("ceiling"),
            predicted=found.predicted,
            note=found.note,
        )


def _area(step: str) -> str:
    first = step.split()[0]
    areas = {
        "copy": "memory",
        "matmul": "arithmetic",
        "launch": "launches",
        "to": "link",
        "from": "link",
        "disk": "disk",
    }
    return areas.get(first, "workload")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _file() -> Path:
    return home() / "bench.json"


def _unfinished(card: Device, quick: bool) -> Bench | None:
    try:
        last = msgspec.json.decode(_file().read_bytes(), type=Bench)
    except (OSError, msgspec.DecodeError):
        return None
    same = (last.device, last.quick, last.version) == (card.name, quick, __version__)
    return last if same and not last.finished else None


def _keep(current: Bench) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(msgspec.json.encode(current))
    temporary.replace(path)
