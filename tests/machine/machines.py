"""Recorded and made-up machines: a healthy base as Facts in JSON, and patches that break one thing."""

import json
from pathlib import Path

import msgspec

from onecard.machine.facts import Facts
from onecard.machine.recording import read

FOLDER = Path(__file__).parent.parent / "fixtures" / "machines"


def healthy_names() -> list[str]:
    return sorted(p.stem for p in (FOLDER / "healthy").glob("*.json"))


def base(name: str) -> dict:
    return json.loads((FOLDER / "healthy" / f"{Path(name).stem}.json").read_text(encoding="utf-8"))


def patched(name: str, patch: dict) -> Facts:
    """A healthy machine with values at dotted places, through the reader that `doctor --fixture` has; null takes away."""
    given = {"base": f"healthy/{Path(name).stem}.json", "changes": patch}
    facts, unknown = read(json.dumps(given).encode(), FOLDER)
    assert not unknown, unknown
    return facts


def case(rule: str) -> dict:
    return json.loads((FOLDER / "rules" / f"{rule}.json").read_text(encoding="utf-8"))


def case_names() -> list[str]:
    return sorted(p.stem for p in (FOLDER / "rules").glob("*.json"))


def without(facts: Facts, **fields) -> Facts:
    return msgspec.structs.replace(facts, **fields)
