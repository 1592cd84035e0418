"""A Record from the journal of a run: the only way in which Records are made.

A finished run, one whose child was killed and one whose parent was killed all leave the same file; what differs is how
far it goes. So nothing is ever assembled in memory and lost.
"""

import datetime
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile
from onecard.core.estimate import Estimate
from onecard.core.ranges import Range
from onecard.core.record import OUTCOMES, Measurement, Record

Event = dict[str, Any]


def read(path: Path) -> list[Event]:
    """The events of a journal; a last line that was cut short by a kill is left out. Raises BadFile."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadFile(f"{path} cannot be read", why=str(error.strerror or error)) from None
    events: list[Event] = []
    for line in lines:
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    if not events or events[0]["event"] != "begin":
        raise BadFile(f"{path} is no journal of a run", why="it does not begin with a plan")
    return events


def record_of(path: Path) -> Record:
    """The Record of a journal, complete or not."""
    events = read(path)
    begin = events[0]
    ending = _ending(events)
    stamps = [e["t"] for e in events if isinstance(e.get("t"), int | float)]
    effective: dict[str, Any] = {}
    for event in events:
        if event["event"] == "effective":
            effective |= event["settings"]
    return Record(
        id=begin["id"],
        kind=begin["kind"],
        plan=begin["plan"],
        started=begin["started"],
        seconds=float(ending.get("seconds", max(stamps, default=0.0))),
        outcome=ending["outcome"],
        requested=begin.get("requested", {}),
        effective=effective,
        environment=begin.get("environment", {}) | _seen(events),
        measurements=measurements(events),
        samples=samples(events),
        quality=ending.get("quality", {}),
        error=_message(ending),
        rungs=tuple({k: v for k, v in e.items() if k != "event"} for e in events if e["event"] == "rung"),
    )


def _ending(events: list[Event]) -> Event:
    """The parent's last word, else the child's, else what its absence means."""
    for name in ("end", "result"):
        for event in reversed(events):
            if event["event"] == name and event.get("outcome") in OUTCOMES:
                return event
    return {"outcome": "failed", "what": "the run was killed together with onecard; this is what its journal holds"}


def _message(ending: Event) -> str:
    lines = [str(ending.get("what", ""))]
    lines += [f"{key}: {ending[key]}" for key in ("why", "next") if ending.get(key)]
    return "\n".join(line for line in lines if line)


def _seen(events: list[Event]) -> dict[str, Any]:
    """What the child told of itself: baseline memory, threads, how the budget was kept."""
    found: dict[str, Any] = {}
    for event in events:
        if event["event"] in ("ready", "budget"):
            found[event["event"]] = {k: v for k, v in event.items() if k not in ("event", "t")}
    return found


def samples(events: list[Event]) -> dict[str, list[float]]:
    """Raw samples by name, each with its own clock: a value that a driver did not tell once leaves no hole."""
    found: dict[str, list[float]] = {}
    for event in events:
        if event["event"] == "sample":
            for name, value in event["values"].items():
                found.setdefault(name, []).append(value)
                found.setdefault(f"{name}_t", []).append(event["t"])
        elif event["event"] == "timings":
            found.setdefault(event["name"], []).extend(event["seconds"])
    return found


def predicted(estimate: Estimate) -> dict[str, tuple[str, Range]]:
    """Every number that an Estimate promises, under the name that a measurement of it has: (unit, range)."""
    memory = estimate.memory
    names = {"memory.peak": ("bytes", memory.peak_bytes)}
    # What is observed of a part is its peak over all phases, so that is what it is held against.
    names |= {f"memory.{part}": ("bytes", size) for part, size in (memory.parts | memory.elsewhere).items()}
    names |= {f"host.{part}": ("bytes", size) for part, size in memory.host_parts.items()}
    if memory.allocated is not None:
        names["memory.allocated"] = ("bytes", memory.allocated)
    if memory.reserved is not None:
        names["memory.reserved"] = ("bytes", memory.reserved)
    names |= {name: (_unit(name), rate) for name, rate in estimate.rates.items()}
    return names


def _unit(rate: str) -> str:
    """tokens/s from prefill_tokens_per_s"""
    return rate.removesuffix("_per_s").rpartition("_")[2] + "/s"


_TORCH_ONLY = ("memory.allocated", "memory.reserved")
"""only torch's allocator on a GPU counts these: elsewhere the line would say nothing"""


def measurements(events: list[Event]) -> tuple[Measurement, ...]:
    """What was promised beside what was observed, and then what was observed beyond it. None: not observed."""
    plan = events[0]["plan"]
    promises = predicted(msgspec.convert(plan["estimate"], Estimate)) if plan.get("estimate") else {}
    observed = peaks(events) | {
        e["name"]: (e["unit"], e["value"], e.get("note", "")) for e in events if e["event"] == "measured"
    }
    rows = []
    for name, (unit, promise) in promises.items():
        _, value, note = observed.pop(name, (unit, None, ""))
        if promise.high == 0 and not value:
            continue
        if value is None and name in _TORCH_ONLY:
            continue
        low, likely, high = promise.low, promise.likely, promise.high
        rows.append(
            Measurement(
                name=name,
                unit=unit,
                predicted=(low, likely, high),
                measured=value,
                note=note or ("not observed" if value is None else ""),
            )
        )
    rows += [
        Measurement(name=name, unit=unit, predicted=None, measured=value, note=note)
        for name, (unit, value, note) in observed.items()
    ]
    return (*rows, *shares(rows, events[0].get("ceilings", {})))


def shares(rows: list[Measurement], ceilings: dict[str, dict[str, float]]) -> list[Measurement]:
    """What part of the device's limits each measured rate is: decode_share_of_bandwidth, prefill_share_of_arithmetic."""
    found = []
    for row in rows:
        phase = row.name.removesuffix("_per_s").rpartition("_")[0]
        for limit, ceiling in ceilings.get(row.name, {}).items():
            if row.measured is not None:
                name = f"{phase}_share_of_{limit}"
                found.append(Measurement(name=name, unit="share", predicted=None, measured=row.measured / ceiling))
    return found


def peaks(events: list[Event]) -> dict[str, tuple[str, float | None, str]]:
    """Peaks of memory over all phases, each kind by its own name, and the one that answers memory.peak.

    On a CUDA device that is the context and what torch's allocator reserved, else what the driver counted for the
    process; on the CPU the resident size less that after the imports.
    """
    found: dict[str, tuple[str, float | None, str]] = {}
    ends = [e for e in events if e["event"] == "phase_end"]
    for kind in ("allocated", "reserved"):
        sizes = [e["peak"][kind] for e in ends if kind in e["peak"]]
        if sizes:
            found[f"memory.{kind}"] = ("bytes", float(max(sizes)), "torch's allocator")
    driver = [e["values"]["driver"] for e in events if e["event"] == "sample" and "driver" in e["values"]]
    if driver:
        found["memory.driver"] = ("bytes", max(driver), "the driver's count of this process, sampled")
    ready = [e for e in events if e["event"] == "ready"]
    resident = [(e["peak"]["rss"], e["name"]) for e in ends if "rss" in e["peak"]]
    resident += [
        (e["values"]["rss"], "") for e in events if e["event"] == "sample" and "rss" in e["values"] and not ends
    ]
    if resident and ready:
        size, phase = max(resident)
        above = float(size - ready[-1]["rss"])
        found["memory.rss"] = ("bytes", above, f"resident, beyond its libraries, in {phase or 'the run'}")
    kind = str(events[0]["plan"].get("device", {}).get("kind", "cpu"))
    if kind == "cpu" and "memory.rss" in found:
        found["memory.peak"] = found.pop("memory.rss")
    elif "memory.reserved" in found and ready and ready[-1].get("context") is not None:
        size = (found["memory.reserved"][1] or 0.0) + float(ready[-1]["context"])
        found["memory.peak"] = ("bytes", size, "context + reserved by torch's allocator")
    elif "memory.driver" in found:
        found["memory.peak"] = found["memory.driver"]
    return found


def orphans(runs: Path, known: set[str]) -> list[Path]:
    """Journals of runs that nobody looks after any more and that are no Records yet."""
    if not runs.is_dir():
        return []
    found = []
    for path in sorted(runs.glob("*/journal.jsonl")):
        if path.parent.name not in known and not _alive(path):
            found.append(path)
    return found


def _alive(path: Path) -> bool:
    """Whether the process that began a journal, or the child that it started, still runs."""
    import psutil

    try:
        events = read(path)
    except BadFile:
        return True  # a run that begins this very moment, or no journal: leave it alone
    started = datetime.datetime.fromisoformat(events[0]["started"]).timestamp()
    for pid in [events[0].get("pid")] + [e.get("pid") for e in events[1:] if e["event"] == "started"]:
        try:
            # a process that was born after the run began only reuses the number (the child is born a little later)
            if pid and psutil.Process(pid).create_time() < started + 60:
                return True
        except psutil.Error:
            continue
    return False
