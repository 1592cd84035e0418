"""Machines as a person would write them down in a few lines: exactly the rules that they need, and no false alarm."""

import json

import pytest
from machines import FOLDER

from onecard.core.finding import NOTE
from onecard.machine.recording import read
from onecard.machine.rules import diagnose

CASES = json.loads((FOLDER / "by_hand.json").read_text(encoding="utf-8"))


def found(machine):
    facts, unknown = read(json.dumps(machine).encode(), FOLDER)
    assert unknown == ()
    return diagnose(facts)


@pytest.mark.parametrize("name", CASES["healthy"])
def test_healthy_machines_of_all_kinds(name):
    given = CASES["healthy"][name]
    told = found(given["machine"])
    assert [f.rule for f in told] == given.get("notes", []), [(f.rule, f.evidence) for f in told]
    assert all(f.severity == NOTE for f in told)


@pytest.mark.parametrize("name", CASES["broken"])
def test_each_failure_mode_has_its_finding(name):
    """The number in a name is that of the list of failure modes which the rules were made from."""
    given = CASES["broken"][name]
    assert given["expect"] and sorted(f.rule for f in found(given["machine"])) == given["expect"]
