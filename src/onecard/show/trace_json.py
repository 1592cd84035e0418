"""A trace as JSON: every figure of the terminal view, with the events left out unless they are asked for."""

import json
from typing import Any

import msgspec

from onecard.core.traced import Traced


def trace_json(traced: Traced, *, events: bool = False) -> str:
    """Bytes throughout. With `events`, the storages and their order too, as core.cost.Events describes them."""
    replay = traced.replay
    peaks = {
        "allocated": replay.peak_allocated, "reserved": replay.peak_reserved, "requested": replay.peak_requested,
        "context": traced.context, "needs": traced.needs,
    }  # fmt: skip
    value: dict[str, Any] = {
        "target": traced.target,
        "card": traced.card,
        "card_class": traced.cost.card_class,
        "allocator": traced.allocator,
        "capacity": traced.capacity,
        "fits": traced.fits,
        "peak": peaks,
        "retries": replay.retries,
        "out_of_memory": msgspec.to_builtins(replay.oom),
        "phases": msgspec.to_builtins(replay.phases),
        "held": msgspec.to_builtins(traced.held),
        "estimate": msgspec.to_builtins(traced.estimate),
        "notes": list(traced.cost.notes),
        "versions": traced.cost.versions,
        "extra": msgspec.to_builtins(traced.cost.extra),
    }
    if events:
        value["events"] = msgspec.to_builtins(traced.cost.events)
        value["timeline"] = {"allocated": list(replay.allocated), "reserved": list(replay.reserved)}
    return json.dumps(value, indent=1)


def largest_json(setting: str, found: Any) -> str:
    """The largest value of a setting that fits, with what was traced to know it (predict.laws.Largest)."""
    return json.dumps({"setting": setting, **msgspec.to_builtins(found)}, indent=1)
