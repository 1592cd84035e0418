"""Machines as a person would write them down in a few lines: exactly the rules that they need, and no false alarm."""

import itertools
import json

import pytest
from machines import FOLDER

from onecard.core.finding import NOTE
from onecard.machine.builds import BUILDS, card_runs
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


KINDS = {
    "linux": {"system": "linux", "adapters": ["10de:2782 nvidia"], "modules": ["nvidia", "nvidia_uvm"]},
    "windows": {"system": "windows", "vc_runtime": True},
    "wsl": {
        "system": "wsl2",
        "nvml_library": "/usr/lib/wsl/lib/libnvidia-ml.so.1",
        "wsl_library": "/usr/lib/wsl/lib/libcuda.so.1",
    },
    "container": {"system": "linux", "container": "docker", "device_nodes": ["/dev/nvidia0", "/dev/nvidia-uvm"]},
}
CARDS = ("5.2", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")


@pytest.mark.parametrize("kind", ["linux", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "linux")])
@pytest.mark.parametrize("build", BUILDS, ids=lambda b: f"{b.torch}-{b.tag}")
def test_every_published_build_on_every_card_and_driver(kind, build):
    """What runs is healthy, what does not is named by the one rule that it needs, on each system."""
    for driver, capability in itertools.product(("470.256.02", "535.183.01", "570.124.06", "580.95.05"), CARDS):
        major = int(build.cuda.split(".")[0])
        machine = {
            **KINDS[kind],
            "python": {"version": "3.12.3", "virtual": True},
            "driver": driver,
            "cards": [{"name": "a card", "compute_capability": capability, "memory_total": "12 GiB"}],
            "torch": f"{build.torch}.1+{build.tag}",
        }
        expected = ["bf16-emulated"] if float(capability) < 8.0 else []
        runs = card_runs(capability, build.architectures)
        if not runs:
            expected += ["card-too-old" if float(capability) < 9.0 else "card-too-new"]
        too_old = {11: (), 12: ("470.256.02",), 13: ("470.256.02", "535.183.01", "570.124.06")}[major]
        if driver in too_old and (runs or float(capability) >= 9.0):
            expected += ["driver-too-old"]
        assert sorted(f.rule for f in found(machine)) == sorted(expected), (driver, capability)
