"""A Plan: workload, settings, device, estimate, verdict, and the trail of decisions. JSON; its id hashes its content."""

import hashlib
from typing import Any

import msgspec

from onecard.core.estimate import Estimate

FITS, TIGHT, OFFLOAD, NO = "fits", "tight", "offload", "no"
"""fits: even the high end of the range is below what is usable. tight: the likely value is, the high end is not.
offload: fits with a part of the work on the host. no: nothing that was allowed to change makes it fit."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that the planner may choose, its options from least to most harm to quality or speed."""

    setting: str
    options: tuple[Any, ...]
    harms: tuple[float, ...]
    """harm of each option, ascending from 0; harms of different settings add up, so they share one scale"""
    why: str
    """what is lost on the way down, in words"""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the out-of-memory ladder: what a training run gives up next, while its meaning stays.

    Rungs add up: what an earlier one changed stays changed.
    """

    changed: dict[str, Any]
    """setting -> new value"""
    phases: tuple[str, ...]
    """where running out of memory is helped by it; an out of memory elsewhere passes it over"""
    why: str
    peak_bytes: float | None = None
    """as priced with all rungs up to this one; None where nobody priced it"""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the search: what was tried and what came of it."""

    tried: dict[str, Any]
    peak_bytes: float
    usable_bytes: float
    outcome: str
    """accepted or refused"""
    why: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What a "no" says next."""

    smallest_change: str = ""
    largest_that_fits: str = ""
    cards: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "can this card do that", and the input of prove and run."""

    id: str
    workload: str
    settings: dict[str, Any]
    device: dict[str, Any]
    verdict: str
    estimate: Estimate
    decisions: tuple[Decision, ...] = ()
    command: str = ""
    advice: Advice | None = None
    budget: int | None = None
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    notable: tuple[str, ...] = ()
    """settings that differ from the workload's defaults: what a reader wants to see first"""


def plan_id(workload: str, settings: dict[str, Any], device: str, versions: dict[str, str]) -> str:
    """Twelve hex digits over what defines the plan: never free memory or time, so the same question has the same id."""
    content = msgspec.json.encode([workload, settings, device, versions], order="sorted")
    return hashlib.sha256(content).hexdigest()[:12]


def plan_json(plan: Plan) -> dict[str, Any]:
    """The JSON that `plan --json` prints: the Plan with every field, and `total_seconds` among the times.

    {"id", "workload", "settings", "device", "verdict", "estimate": {"basis", "memory": {"peak_bytes", "phase", "parts",
    "usable_bytes", "free_bytes", ...}, "time": {phase: {"seconds", "repeat"}, "total_seconds"}, "rates", "limiters", ...},
    "decisions", "command", ...}; ranges are [low, likely, high] in bytes, seconds or units per second; unknown is null.
    Bytes are whole, and a peak is the sum of its parts to the byte.
    """
    content: dict[str, Any] = msgspec.to_builtins(plan)
    estimate = content["estimate"]
    memory = estimate["memory"]
    for parts in (memory["parts"], memory["host_parts"], memory["elsewhere"]):
        for name, size in parts.items():
            parts[name] = [round(end) for end in size]
    memory["peak_bytes"] = [sum(ends) for ends in zip(*memory["parts"].values(), strict=True)]
    for name in ("allocated", "reserved"):
        memory[name] = memory[name] and [round(end) for end in memory[name]]
    for decision in content["decisions"]:
        decision["peak_bytes"], decision["usable_bytes"] = (
            round(decision["peak_bytes"]),
            round(decision["usable_bytes"]),
        )
    estimate["time"]["total_seconds"] = estimate.pop("total_seconds")
    return content
