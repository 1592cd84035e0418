"""Following the journal of a run while it is written, or afterwards: plan against reality, and the samples.

A journal is one JSON event a line (the list is in execute/__init__.py). A half-written last line is left for the next
look; a line that makes no sense is skipped, since watching must not fail for it.
"""

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from onecard.core import places
from onecard.core.reading import Attached, Holder, Moment, Reading
from onecard.machine.nvml import throttle

Event = dict[str, Any]


class Follower:
    """What is known of one run; `look` reads what was appended since the last time."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.place = 0
        self.state = Attached(id=journal.parent.name)
        self.device = ""
        self.kind = "cpu"
        self.total: int | None = None
        self.pid: int | None = None
        self.result = ""
        self.context: float = 0.0
        """of CUDA: torch's allocator does not count it, the driver does"""
        self.before: float = 0.0
        """resident memory after imports: on the CPU the run's own memory is what comes on top"""

    def look(self) -> Attached:
        """The run now."""
        for event in self._events():
            self.take(event)
        if not self.state.outcome and self.pid is not None and not _alive(self.pid):
            # Nobody is left to write an end: what the work itself said last counts, else it was killed.
            self.state = msgspec.structs.replace(self.state, outcome=self.result or "failed", phase="")
        return self.state

    def _events(self) -> Iterator[Event]:
        try:
            with self.journal.open("rb") as file:
                file.seek(self.place)
                data = file.read()
        except OSError:
            return
        whole = data.rfind(b"\n") + 1
        self.place += whole
        for line in data[:whole].splitlines():
            event = _decode(line)
            if event is not None:
                yield event

    def take(self, event: Event) -> None:
        """One event changes what is known."""
        state, kind = self.state, event.get("event")
        changes: dict[str, Any] = {}
        moment = _number(event.get("t"))
        if moment is not None:
            changes["seconds"] = max(state.seconds, moment)
        if kind == "begin":
            changes |= self._begin(event)
        elif kind == "ready":
            # Comes before the imports and again after them: what was seen until then was the libraries' memory.
            self.context = _number(event.get("context")) or 0.0
            if self.kind == "cpu":
                self.before = _number(event.get("rss")) or 0.0
                changes["peak"] = None
        elif kind == "phase":
            changes |= {"phase": str(event.get("name", "")), "done": None, "of": None}
        elif kind == "phase_end":
            changes["peak"] = _most(state.peak, self._own(self._own_peak(event.get("peak"))))
            changes["peaks"] = _larger(state.peaks, event.get("peak"))
        elif kind == "progress":
            shown = event.get("shown")
            changes |= {
                "done": _number(event.get("done")), "of": _number(event.get("of")), "unit": str(event.get("unit") or ""),
                "shown": {k: v for k, v in shown.items() if isinstance(v, int | float | str)} if isinstance(shown, dict) else {},
            }  # fmt: skip
        elif kind == "measured":
            value = _number(event.get("value"))
            if value is not None:
                changes["measured"] = {**state.measured, str(event.get("name")): value}
        elif kind == "sample":
            changes["peak"] = _most(state.peak, self._own(_sampled(event.get("values"), self.kind)))
        elif kind == "result":  # of one rung: another may follow an out of memory
            self.result = str(event.get("outcome") or "")
        elif kind == "end":
            changes |= {"outcome": str(event.get("outcome") or "failed"), "phase": ""}
        self.state = msgspec.structs.replace(state, **changes)

    def _own(self, seen: float | None) -> float | None:
        return None if seen is None else max(0.0, seen - self.before)

    def _own_peak(self, peak: object) -> float | None:
        """The run's own memory in a phase: what the driver counts on a card, resident memory on the CPU."""
        if not isinstance(peak, dict):
            return None
        if self.kind == "cpu" or "driver" in peak:
            return _number(peak.get("rss" if self.kind == "cpu" else "driver"))
        counted = next((n for name in ("reserved", "allocated") if (n := _number(peak.get(name))) is not None), None)
        return None if counted is None else counted + self.context

    def _begin(self, event: Event) -> dict[str, Any]:
        plan = event.get("plan") if isinstance(event.get("plan"), dict) else {}
        assert isinstance(plan, dict)
        device = plan.get("device") if isinstance(plan.get("device"), dict) else {}
        assert isinstance(device, dict)
        self.device, self.kind = str(device.get("name", "")), str(device.get("kind", "cpu"))
        self.total = device.get("memory_total") if isinstance(device.get("memory_total"), int) else None
        self.pid = event.get("pid") if isinstance(event.get("pid"), int) else None
        estimate = plan.get("estimate") if isinstance(plan.get("estimate"), dict) else {}
        assert isinstance(estimate, dict)
        rates = estimate.get("rates") if isinstance(estimate.get("rates"), dict) else {}
        assert isinstance(rates, dict)
        return {
            "id": str(event.get("id") or self.state.id),
            "kind": str(event.get("kind") or "run"),
            "workload": str(plan.get("workload", "")),
            "planned_peak": _range((estimate.get("memory") or {}).get("peak_bytes")),
            "planned_rates": {str(k): r for k, v in rates.items() if (r := _range(v)) is not None},
        }


def _when(text: object) -> float:
    """Seconds since the epoch of "2026-11-24T03:57:12+00:00"; 0 for anything else."""
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


def _decode(line: bytes) -> Event | None:
    try:
        event = msgspec.json.decode(line)
    except msgspec.MsgspecError:
        return None
    return event if isinstance(event, dict) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _range(value: object) -> tuple[float, float, float] | None:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value):
        return float(value[0]), float(value[1]), float(value[2])
    return None


def _most(known: float | None, seen: float | None) -> float | None:
    return seen if known is None else known if seen is None else max(known, seen)


def _larger(known: dict[str, float], seen: object) -> dict[str, float]:
    """Each count's largest value so far."""
    found = {str(k): n for k, v in seen.items() if (n := _number(v)) is not None} if isinstance(seen, dict) else {}
    return {name: max(known.get(name, 0.0), found.get(name, 0.0)) for name in {**known, **found}}


def _sampled(values: object, kind: str) -> float | None:
    if not isinstance(values, dict):
        return None
    return _number(values.get("rss" if kind == "cpu" else "driver"))


def latest(folder: Path | None = None) -> Path | None:
    """The journal that was written to last and has no end; None where no run is under way."""
    found: list[tuple[float, Path]] = []
    for journal in (folder or places.runs()).glob("*/journal.jsonl"):
        try:
            found.append((journal.stat().st_mtime, journal))
        except OSError:
            continue
    for _, journal in sorted(found, reverse=True)[:5]:
        follower = Follower(journal)
        if not follower.look().outcome and _alive(follower.pid):
            return journal
    return None


def _alive(pid: int | None) -> bool:
    """Whether the process that started the run is still there; unknown counts as yes."""
    if pid is None or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def moments(journal: Path) -> Iterator[Moment]:
    """A finished or half-finished run as moments: each sample with what was known of the run then."""
    follower = Follower(journal)
    started = 0.0
    for event in follower._events():
        follower.take(event)
        if event.get("event") == "begin":
            started = _when(event.get("started"))
        values = event.get("values")
        if event.get("event") == "sample" and isinstance(values, dict):
            at = started + (_number(event.get("t")) or 0.0)
            yield Moment(time=at, readings=(_reading(follower, values, at),), run=follower.state)
    if follower.state.outcome:
        yield Moment(time=started + follower.state.seconds, readings=(), run=follower.state)


def _reading(follower: Follower, values: Event, at: float) -> Reading:
    """A sample of the sampler as a Reading; what it left out is None."""
    on_card = follower.kind != "cpu"

    def value(name: str) -> float | None:
        return _number(values.get(name))

    own = value("driver") if on_card else value("rss")
    used, busy, why = value("device_used") if on_card else value("rss"), value("utilisation"), value("throttle")
    generation, width = value("pcie_generation"), value("pcie_width")
    return Reading(
        time=at, device=follower.device or "device", kind=follower.kind,
        memory_used=int(used) if used is not None else None, memory_total=follower.total,
        utilization=busy / 100 if busy is not None else None, clock=value("clock"), memory_clock=value("memory_clock"),
        power=value("power"), temperature=value("temperature"), throttle=throttle(int(why)) if why is not None else None,
        link_generation=int(generation) if generation is not None else None, link_width=int(width) if width is not None else None,
        holders=(Holder(pid=follower.pid, name=follower.state.workload or "run", bytes=int(own) if own is not None else None),),
    )  # fmt: skip
