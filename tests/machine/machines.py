"""Recorded and made-up machines: a healthy base as Facts in JSON, and patches that break one thing."""

import copy
import json
from pathlib import Path

import msgspec

from onecard.machine.facts import Facts, decode

FOLDER = Path(__file__).parent.parent / "fixtures" / "machines"


def healthy_names() -> list[str]:
    return sorted(p.stem for p in (FOLDER / "healthy").glob("*.json"))


def base(name: str) -> dict:
    return json.loads((FOLDER / "healthy" / f"{name}.json").read_text(encoding="utf-8"))


def patched(name: str, patch: dict) -> Facts:
    """The base with values at dotted places; null takes a value away."""
    facts = copy.deepcopy(base(name))
    for path, value in patch.items():
        put(facts, path.split("."), value)
    return decode(json.dumps(facts).encode())


def put(facts, steps: list[str], value) -> None:
    """A package's name has no dot; a number is a place in a list."""
    here = facts
    for step in steps[:-1]:
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
    last = int(steps[-1]) if isinstance(here, list) else steps[-1]
    if value is None:
        here.pop(last, None)
    else:
        here[last] = value


def case(rule: str) -> dict:
    return json.loads((FOLDER / "rules" / f"{rule}.json").read_text(encoding="utf-8"))


def case_names() -> list[str]:
    return sorted(p.stem for p in (FOLDER / "rules").glob("*.json"))


def without(facts: Facts, **fields) -> Facts:
    return msgspec.structs.replace(facts, **fields)
