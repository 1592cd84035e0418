"""Cards that their driver does not start: the kernel's log says why, and the words are always the same."""

import re

from onecard.core.finding import ERROR
from onecard.machine.builds import parts
from onecard.machine.facts import Facts
from onecard.machine.installing import before_turing, install_driver
from onecard.machine.rule import Rule, Values

LEGACY = re.compile(r"(\d{3})\.xx Legacy drivers")
"""NVRM: supported through the NVIDIA 580.xx Legacy drivers."""


def _line(f: Facts, word: str) -> str | None:
    return next((line for line in reversed(f.kernel_log) if word in line), None)


def open_modules(f: Facts) -> Values | None:
    line = _line(f, "open kernel modules")
    return {"line": line} if line and not f.cards else None


def dropped(f: Facts) -> Values | None:
    if f.cards:
        return None
    for line in reversed(f.kernel_log):
        if found := LEGACY.search(line):
            return {"line": line, "command": _command(f, found[1])}
    branch = parts(f.driver_module or f.driver or "")
    old = next((a for a in f.nvidia_adapters if before_turing(a)), None)
    if old is None or not branch or branch[0] < 590 or not f.nvml_error or "mismatch" in f.nvml_error:
        return None
    return {"line": f"driver {f.driver_module or f.driver}, display adapter {old}", "command": _command(f, "580")}


def _command(f: Facts, branch: str) -> str:
    return install_driver(f.system, f.distribution, f.wsl, branch)


def does_not_start(f: Facts) -> Values | None:
    line = _line(f, "RmInitAdapter failed") or _line(f, "rm_init_adapter failed")
    fell = any("Xid" in x and ": 79," in x for x in f.kernel_log)
    return {"line": line} if line and not f.cards and not fell and not open_modules(f) else None


def explained(f: Facts) -> bool:
    """The kernel's log tells why the driver has no card."""
    return bool(open_modules(f) or dropped(f) or does_not_start(f))


RULES = (
    Rule(
        id="needs-open-modules", title="This card needs the driver's open kernel modules", severity=ERROR, check=open_modules,
        evidence="{line}", cause="Blackwell cards (RTX 50) have no proprietary module; the other flavour of the driver is installed.",
        messages=("requires use of the NVIDIA open kernel modules",),
        next={"any": "{install_open_driver}"}, looks_at="kernel log",
        source="https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html", date="2026-09-01",
    ),
    Rule(
        id="driver-dropped-card", title="The installed driver no longer knows this card", severity=ERROR, check=dropped,
        evidence="{line}", cause="Driver 590 and later dropped Maxwell, Pascal and Volta cards, 495 dropped Kepler.",
        next={"any": "{command}"},
        looks_at="kernel log, PCI bus, driver version", source="https://github.com/NixOS/nixos-hardware/issues/1880",
        date="2026-05-17",
    ),
    Rule(
        id="card-does-not-start", title="The card does not start", severity=ERROR, check=does_not_start, evidence="{line}",
        cause="It answers on the bus and fails to initialise: power cables, riser, seating, firmware, or a broken card.",
        next={"any": "power off, reseat the card and its power cables; set Above 4G decoding in the firmware"},
        looks_at="kernel log (RmInitAdapter)", confidence="medium",
        source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1151", date="2026-09-01",
    ),
)  # fmt: skip
