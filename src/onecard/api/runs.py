"""prove, run and resume: carry out a Plan in a child process and keep what happened as a Record.

The Plan is written to the journal before anything is measured; the Record is made from the journal. So a prediction
cannot be changed after the fact, and a kill at any moment leaves a Record of what was known by then.
"""

import datetime
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from onecard.core import places
from onecard.core.cost import Cost
from onecard.core.device import Device
from onecard.core.errors import BadSetting, DoesNotFit, UnknownName
from onecard.core.plan import NO, Plan
from onecard.core.record import Record
from onecard.core.require import has
from onecard.core.units import show_size
from onecard.execute.outcome import Ending

if TYPE_CHECKING:
    from onecard.execute.job import Job
    from onecard.execute.journal import Journal

OnEvent = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Gets every event of a run (execute/__init__.py lists them); what it returns goes to the child as a command"""

DEVICES = {"cuda": "cuda", "rocm": "cuda", "metal": "mps", "xpu": "xpu", "cpu": "cpu"}
"""Device.kind -> the device as torch spells it"""


def prove(
    what: str | Plan,
    *,
    budget: str | int | None = None,
    force: bool = False,
    threads: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> Record:
    """A few steps with synthetic weights of exactly the planned shapes: predicted against measured, as a Record.

    prove("chat", model="llama-3.2-1b") or prove(plan). A Plan for another card is proven on this machine with the same
    settings, as a Plan of its own. threads: of the processor, instead of all its cores.
    """
    plan, requested = _planned(what, budget, settings)
    _ready("prove", plan, {})  # a mistake is told before this machine is measured
    if know_this_machine(on_event):
        plan, requested = _planned(what, budget, settings)
    return _carry_out("prove", plan, requested, force=force, threads=threads, on_event=on_event, stop=stop)


def know_this_machine(on_event: OnEvent | None = None) -> bool:
    """Measure bandwidth and arithmetic of the host once, some seconds, so that what is predicted rests on more than a guess.

    Where the processor is the device: also look how much of that it reaches now, a second each time. Whether anything new
    is known.
    """
    from onecard.api import plans
    from onecard.machine import is_measured, look, measure

    known = is_measured()
    if not known:
        if on_event is not None:
            on_event({"event": "log", "text": "measuring this machine's memory and arithmetic, once (some seconds)"})
        measure()
        plans._this_device.cache_clear()
    alone = plans.device().kind == "cpu"
    if alone:
        look()
        plans._this_device.cache_clear()
    return alone or not known


def run(
    what: str | Plan,
    *,
    budget: str | int | None = None,
    force: bool = False,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    seconds: float | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> Record:
    """Do the work. `options` are how this one run is asked for: {"prompt": "..."}, {"serve": True}."""
    plan, requested = _planned(what, budget, settings)
    return _carry_out(
        "run",
        plan,
        requested,
        force=force,
        threads=threads,
        options=options or {},
        seconds=seconds,
        on_event=on_event,
        stop=stop,
    )


def resume(
    prefix: str, *, on_event: OnEvent | None = None, stop: threading.Event | None = None, seconds: float | None = None
) -> Record:
    """Continue an interrupted run from what its folder holds, with the settings that it had. Raises UnknownName."""
    from onecard.execute.guard import settings_of
    from onecard.store.journal import read

    folder = _folder_of(prefix)
    events = read(folder / "journal.jsonl")
    begin = events[0]
    origin = Path(begin["folder"]) if begin.get("folder") else folder
    plan = msgspec.convert(begin["plan"], Plan)
    # What the out-of-memory ladder gave up stays given up: the full settings have already failed once.
    plan = msgspec.structs.replace(plan, settings=settings_of(events, plan.settings))
    return _carry_out(
        "resume",
        plan,
        begin.get("requested", {}),
        force=True,
        options=begin.get("options", {}),
        folder=origin,
        on_event=on_event,
        stop=stop,
        seconds=seconds,
    )


def _folder_of(prefix: str) -> Path:
    runs = places.runs()
    names = sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
    hits = [n for n in names if n.startswith(prefix.lower())] if prefix else []
    if len(hits) != 1:
        several = f"several begin like this: {', '.join(hits[:6])}" if hits else "onecard records lists them"
        raise UnknownName("run", prefix, names, next=several)
    return runs / hits[0]


def _planned(what: str | Plan, budget: str | int | None, settings: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
    """The Plan for this machine, and the settings as they were asked for."""
    from onecard.api.plans import device, plan

    given = {k: v for k, v in settings.items() if v is not None}
    if isinstance(what, str):
        return plan(what, budget=budget, **given), given
    here = device()
    if what.device.get("name") == here.name and budget is None and not given:
        return what, dict(what.settings)
    wanted = {k: v for k, v in {**what.settings, **given}.items() if v is not None}
    return plan(what.workload, budget=budget if budget is not None else what.budget, **wanted), wanted


def _carry_out(
    kind: str,
    plan: Plan,
    requested: dict[str, Any],
    *,
    force: bool,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    folder: Path | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    seconds: float | None = None,
) -> Record:
    from onecard.api.calibration import learn
    from onecard.api.ceilings import ceilings
    from onecard.core.errors import NoRoom
    from onecard.execute.job import Job, checked
    from onecard.execute.journal import Journal
    from onecard.machine.cpu import processor
    from onecard.machine.environment import environment
    from onecard.store import records as store
    from onecard.store.journal import record_of

    _allowed(kind, plan, force, options or {})
    card = msgspec.convert(plan.device, Device)
    store.check(places.records_file())
    identity = secrets.token_hex(5)
    own = places.runs() / identity
    started = time.time()
    job = Job(
        workload=plan.workload,
        settings=checked(plan.workload, plan.settings),
        mode="prove" if kind == "prove" else "run",
        folder=str(folder or own),
        journal=str(own / "journal.jsonl"),
        cache=str(places.cache()),
        device=DEVICES[card.kind],
        budget=plan.budget,
        reserve=card.memory_reserved,
        threads=threads or processor().cores,
        started=started,
        options=options or {},
    )
    begin = {
        "event": "begin",
        "id": identity,
        "kind": kind,
        "plan": msgspec.to_builtins(plan),
        "requested": requested,
        "options": options or {},
        "folder": job.folder,
        "environment": environment(card.kind),
        "ceilings": ceilings(_cost(plan), card),
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="milliseconds"),
        "pid": os.getpid(),
    }
    try:
        with Journal(own) as journal:
            journal.write(begin)
            if on_event is not None:
                on_event(begin)
            ending = _guarded(job, plan, journal, on_event, seconds, stop)
            took = time.time() - started
            journal.write({"event": "end", "t": took, "seconds": took, **msgspec.to_builtins(ending)})
    except OSError as error:
        raise NoRoom(
            f"the run's journal in {own} cannot be written",
            why=error.strerror or str(error),
            next="free disk space, or set ONECARD_HOME to another disk",
        ) from None
    record = record_of(own / "journal.jsonl")
    store.add(places.records_file(), record)
    learn()
    return record


def _cost(plan: Plan) -> Cost:
    from onecard.core.settings import make
    from onecard.execute.job import workload_of

    workload = workload_of(plan.workload)
    return workload.cost(make(workload.settings, plan.settings))


def _guarded(
    job: "Job",
    plan: Plan,
    journal: "Journal",
    on_event: OnEvent | None,
    seconds: float | None,
    stop: threading.Event | None,
) -> Ending:
    """The job in a child; after an out of memory, in the next child with the next rung of the ladder, if there is one."""
    from onecard.api.ladders import rungs
    from onecard.execute.guard import Whereabouts, climb
    from onecard.execute.launch import launch

    def start(settings: dict[str, Any], whereabouts: Whereabouts) -> Ending:
        def see(event: dict[str, Any]) -> dict[str, Any] | None:
            whereabouts.see(event)
            return on_event(event) if on_event is not None else None

        left = None if seconds is None else max(1.0, seconds - (time.time() - job.started))
        return launch(msgspec.structs.replace(job, settings=settings), journal, see, seconds=left, stop=stop)

    ladder = rungs(plan) if job.mode == "run" else ()
    return climb(start, dict(job.settings), ladder, journal, Path(job.folder), on_event).ending


def _allowed(kind: str, plan: Plan, force: bool, options: dict[str, Any]) -> None:
    """What can be known before a process is started. Raises DoesNotFit, BadSetting or MissingExtra."""
    _ready(kind, plan, options)
    if plan.verdict == NO and not force:
        raise _does_not_fit(plan)


def _ready(kind: str, plan: Plan, options: dict[str, Any]) -> None:
    """Whether this work can be done here at all. Raises BadSetting, BadFile or MissingExtra."""
    from onecard.core.errors import MissingExtra
    from onecard.core.settings import make
    from onecard.execute.job import workload_of

    workload = workload_of(plan.workload)
    able = workload.prove or (workload.build and workload.step) if kind == "prove" else workload.run
    if able is None:
        raise BadSetting(f"{plan.workload} cannot {kind} yet", next=f"onecard plan {plan.workload} answers at once")
    settings = make(workload.settings, plan.settings)
    workload.ready(settings, kind, options)
    for need in workload.needs(settings):
        if not has(need.module):
            raise MissingExtra(need.module, need.purpose, need.extra)


def _does_not_fit(plan: Plan) -> DoesNotFit:
    from onecard.planning.search import host_bytes, host_holds, limit

    memory = plan.estimate.memory
    needs = f"it needs {show_size(memory.peak_bytes.likely)} of {show_size(limit(memory, plan.budget))}"
    if not host_holds(memory):
        needs = f"the host would hold {show_size(host_bytes(memory))} of {show_size(memory.host_usable_bytes or 0)}"
    advice = plan.advice
    nearest = [] if advice is None else [
        *([advice.smallest_change] if advice.smallest_change else []),
        *([f"{advice.largest_that_fits} is the largest that does"] if advice.largest_that_fits else []),
    ]  # fmt: skip
    return DoesNotFit(
        f"this is predicted not to fit: {needs}",
        why=f"the plan's verdict is no, in its phase {memory.phase}",
        next="; or ".join([*nearest, "--force tries it all the same"]),
    )
