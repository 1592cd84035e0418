"""A rule of `doctor`: a row of data and one small pure function of Facts.

The function returns the values that the row's texts are filled with, or None where the machine is well. Texts may also
use what `common` knows of every machine: {card}, {torch}, {install_torch} ...
"""

import re
from collections.abc import Callable

import msgspec

from onecard.core.finding import Finding, RuleText
from onecard.machine.builds import best_build, decode_cuda, install_torch, last_driver, llama_wheel
from onecard.machine.facts import Facts
from onecard.machine.installing import before_turing, install_driver, signing_key

Values = dict[str, object]
QUOTED = re.compile(r'"([^"{}]{8,})"')
"""a message that a cause quotes"""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One failure mode: how it shows, why, what to do, who says so, and of what date that knowledge is."""

    id: str
    title: str
    severity: str
    evidence: str
    cause: str
    next: dict[str, str]
    """platform (linux, windows, wsl, container, darwin) or "any" -> one command or one thing to do"""
    looks_at: str
    source: str
    date: str
    confidence: str = "high"
    check: Callable[[Facts], Values | None]
    area: str = ""
    messages: tuple[str, ...] = ()
    """parts of the error messages that people see; beside those that `cause` quotes"""

    def text(self) -> RuleText:
        """The row without its function, for people."""
        return RuleText(
            rule=self.id, title=self.title, severity=self.severity, area=self.area, cause=_bare(self.cause),
            next={k: _bare(v) for k, v in self.next.items()}, looks_at=self.looks_at, source=self.source,
            date=self.date, confidence=self.confidence,
            messages=(*self.messages, *QUOTED.findall(self.cause)),
        )  # fmt: skip


def apply(rule: Rule, facts: Facts) -> Finding | None:
    """The Finding of one rule, or None. A rule that fails is reported as a fault of ours, not of the machine."""
    try:
        values = rule.check(facts)
        if values is None:
            return None
        known = {**common(facts), **values}
        command = rule.next.get(facts.platform) or _wider(rule, facts) or rule.next["any"]
        return Finding(
            rule=rule.id,
            title=rule.title,
            severity=rule.severity,
            evidence=rule.evidence.format(**known),
            cause=rule.cause.format(**known),
            next=command.format(**known),
            source=rule.source,
            date=rule.date,
            confidence=rule.confidence,
        )
    except Exception as error:  # the other rules must still speak
        return Finding(
            rule=rule.id, title=f"the check {rule.id} could not be made", severity="note", confidence="low",
            evidence=f"{type(error).__name__}: {error}", cause="a fault of this check, not of the machine",
            next="onecard doctor --record facts.json --redact", source=rule.source, date=rule.date,
        )  # fmt: skip


def _wider(rule: Rule, facts: Facts) -> str | None:
    """WSL2 and containers are Linux where a rule has nothing special for them."""
    return rule.next.get("linux") if facts.platform in ("wsl", "container") else None


def common(facts: Facts) -> dict[str, object]:
    """Words that many rules use."""
    branch = last_driver(facts.capability) or ("580" if any(before_turing(a) for a in facts.nvidia_adapters) else None)
    wheel = llama_wheel(facts.capability, facts.driver_cuda)
    build = best_build(facts.likely_capability, facts.driver_cuda) if facts.has_nvidia else None
    return {
        "card": next((c.name for c in facts.cards), "the NVIDIA card"),
        "capability": facts.capability or "unknown",
        "driver": facts.driver or "unknown",
        "driver_cuda": decode_cuda(facts.driver_cuda) if facts.driver_cuda else "unknown",
        "torch": facts.torch.version if facts.torch else "none",
        "torch_cuda": (facts.torch.cuda if facts.torch else None) or "none",
        "install_llama": f"python -m pip install xllamacpp --force-reinstall --index-url {wheel.address}",
        "install_driver": install_driver(facts.system, facts.distribution, facts.wsl, branch),
        "install_open_driver": install_driver(facts.system, facts.distribution, facts.wsl, None, needs_open=True),
        "signing_key": signing_key(facts.distribution),
        "python": facts.python.version,
        "install_torch": install_torch(build, "python -m pip", facts.companions)
        + (" --force-reinstall" if facts.torch else ""),
    }


def _bare(text: str) -> str:
    """A template for people who have no machine at hand: {card} becomes <card>."""
    return (
        text.replace("{install_torch}", "the PyTorch build that `onecard setup` names")
        .replace("{install_llama}", "the wheel of llama.cpp that `onecard setup` names")
        .replace("{command}", "the command for this machine, which `onecard doctor` names")
        .replace("{install_driver}", "the driver command that `onecard setup` names")
        .replace("{install_open_driver}", "sudo apt install nvidia-driver-580-open && sudo reboot")
        .replace("{", "<")
        .replace("}", ">")
    )
