"""bench: what this device reaches, piece by piece and workload by workload, each held against its own ceiling.

Every step is a Record as soon as it is done, marked with the number of its bench: after a kill the next `bench` finds
them and goes on with the steps that are missing.
"""

import datetime
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from onecard import __version__
from onecard.api.suite import Case
from onecard.core.device import Device
from onecard.core.errors import OnecardError
from onecard.core.places import cache, home, records_file
from onecard.core.record import Measurement, Record
from onecard.core.require import has
from onecard.core.score import Score, median, spread

TORCH_NAMES = {"cuda": "cuda", "rocm": "cuda", "metal": "mps", "xpu": "xpu", "cpu": "cpu"}

QUICK_SECONDS = 160.0
"""after so long a quick bench begins no further step and ends the one that it is at: under three minutes is a promise"""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One bench: an unfinished one is continued by the next call."""

    id: str
    device: str
    quick: bool
    started: str
    version: str = __version__
    finished: bool = False
    busy: str = ""
    """what else kept the device at work when it began: its figures are then too low"""


Told = Callable[[str, Record | None], None]
"""Gets (name of a step, None) when it begins and (name, its Record) when it is done."""


def bench(*, quick: bool = False, told: Told = lambda name, record: None, fresh: bool = False) -> tuple[Score, ...]:
    """Microbenchmarks, then the suite; scores of all steps. `fresh` starts over instead of continuing."""
    from onecard.api.plans import device
    from onecard.store import records as store

    until = time.monotonic() + QUICK_SECONDS if quick else None
    card = device()
    current = _unfinished(card, quick) if not fresh else None
    current = current or Bench(id=secrets.token_hex(4), device=card.name, quick=quick, started=_now())
    current = msgspec.structs.replace(current, busy=current.busy or busy())
    _keep(current)
    done = {
        r.effective["step"]: r
        for r in store.find(records_file(), kind="bench")
        if r.effective.get("bench") == current.id
    }
    for record in _steps(card, current, done, told, until):
        store.add(records_file(), record)
        done[record.effective["step"]] = record
        told(record.effective["step"], record)
    _keep(msgspec.structs.replace(current, finished=True))
    return tuple(score for record in done.values() for score in scores(record))


def busy(seconds: float = 0.5) -> str:
    """What works on this machine's devices now, in words; empty where they are at rest."""
    from onecard.machine.now import Now

    with Now() as now:
        time.sleep(seconds)
        readings = now.readings()
    shares = {r.device: r.utilization for r in readings if r.utilization is not None and r.utilization > 0.25}
    return ", ".join(f"{name} was {share:.0%} busy" for name, share in shares.items())


def _steps(card: Device, current: Bench, done: dict[str, Record], told: Told, until: float | None) -> Iterator[Record]:
    from onecard.api.suite import cases
    from onecard.machine.microbenchmarks import names

    torch_name = TORCH_NAMES[card.kind]
    wanted = [n for n in names(torch_name, has("torch")) if n not in done]
    if current.quick:
        wanted = [n for n in wanted if "512x512" not in n and "8192x" not in n]
    yield from _micro(card, current, torch_name, wanted, told)
    for name, case in cases(quick=current.quick, on_gpu=card.kind != "cpu"):
        if name not in done:
            told(name, None)
            yield _proof(card, current, name, case, until)


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
    # Its standard input ends when this process does, however that ends: then it ends too, and disturbs no later bench.
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as child:
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
    middle = median(list(step.samples)) if step.samples else None
    found = Measurement(name=step.name, unit=step.unit, predicted=None, measured=middle, note=step.how)
    return _record(
        card,
        current,
        step.name,
        outcome="failed" if step.error else "ok",
        measurements=(found,) if step.samples else (),
        samples={step.name: list(step.samples)},
        quality={"ceiling": _ceiling(card, step.ceiling)},
        error=step.error,
    )


def _proof(card: Device, current: Bench, name: str, case: Case, until: float | None) -> Record:
    from onecard.api.runs import prove

    late = "three minutes were over: `onecard bench` without --quick measures it"
    left = None if until is None else until - time.monotonic()
    if left is not None and left <= 0:
        return _record(card, current, name, outcome="stopped", error=late)
    stop = threading.Event()
    alarm = threading.Timer(left or 0.0, stop.set)
    alarm.daemon = True
    if left is not None:
        alarm.start()
    try:
        proof = prove(case.workload, stop=stop, **case.settings)
    except OnecardError as error:
        return _record(card, current, name, outcome="failed", error=str(error).replace("\n", "; "))
    finally:
        alarm.cancel()
    rates = tuple(m for m in proof.measurements if m.name.endswith("_per_s") and m.measured)
    limits = {m.name: found for m in rates if (found := _limit(proof, m.name)) is not None}
    return _record(
        card, current, name, outcome=proof.outcome, measurements=rates, error=late if stop.is_set() else proof.error,
        samples={m.name: proof.repeats(m) for m in rates},
        quality={"record": proof.id, "names": case.names, "limits": limits},
    )  # fmt: skip


def _limit(proof: Record, rate: str) -> dict[str, Any] | None:
    """The limit of the device that a rate is nearest to: {"name": "bandwidth", "share": 0.61}."""
    head = rate.removesuffix("_per_s").rpartition("_")[0] + "_share_of_"
    shares = {
        m.name.removeprefix(head): m.measured for m in proof.measurements if m.name.startswith(head) and m.measured
    }
    nearest = max(shares, key=lambda name: shares[name], default=None)
    return None if nearest is None else {"name": nearest, "share": shares[nearest]}


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
        environment={**environment(card.kind), **({"busy": current.busy} if current.busy else {})},
        **rest,
    )


def scores(record: Record) -> Iterator[Score]:
    """The figures of one step."""
    step = record.effective["step"]
    names, limits = record.quality.get("names", {}), record.quality.get("limits", {})
    for found in record.measurements:
        samples = record.samples.get(found.name) or [found.measured or 0.0]
        limit = limits.get(found.name)
        middle = found.measured if found.measured is not None else median(samples)
        yield Score(
            area=_area(step),
            name=_score_name(step, found.name, names),
            unit=found.unit,
            median=middle,
            spread=spread(samples) if len(samples) > 1 else 0.0,
            samples=len(samples),
            ceiling=middle / limit["share"] if limit else record.quality.get("ceiling"),
            limit=limit["name"] if limit else "",
            predicted=found.predicted,
            note=found.note,
            busy=record.environment.get("busy", ""),
        )


def _score_name(step: str, figure: str, names: dict[str, str]) -> str:
    if figure == step:
        return step
    _, _, case = step.partition(" ")
    phase = figure.removesuffix("_per_s").rpartition("_")[0]
    return f"{case} {names.get(figure) or phase}"


_AREAS = {"copy": "memory", "matmul": "arithmetic", "launch": "launches", "to": "link", "from": "link", "disk": "disk"}


def _area(step: str) -> str:
    """Of a microbenchmark the part of the device, of a proof its workload."""
    first = step.split()[0]
    return _AREAS.get(first, first)


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
