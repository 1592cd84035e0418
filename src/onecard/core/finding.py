"""A Finding: one thing that a check of the machine found, with its evidence and one thing to do next."""

import msgspec

ERROR, WARNING, NOTE = "error", "warning", "note"
"""error: work on the device fails or silently uses the CPU. warning: it works, but slower, or only for now.
note: worth knowing, nothing is wrong."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `doctor` reports."""

    rule: str
    title: str
    severity: str
    evidence: str
    """one line with the values that were seen"""
    cause: str
    next: str
    """one command, or one thing to do"""
    source: str
    date: str
    """of the knowledge that the rule rests on: advice grows stale, so its age is shown"""
    confidence: str = "high"
    """high: the evidence leaves no other reading; medium: it usually means this; low: a hint"""


class RuleText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule as `doctor --explain` shows it."""

    rule: str
    title: str
    severity: str
    area: str
    cause: str
    next: dict[str, str]
    """platform -> command; "any" for all others"""
    looks_at: str
    source: str
    date: str
    confidence: str
    messages: tuple[str, ...] = ()
    """what programs say on such a machine: parts of their error messages"""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of setting a machine up, as `setup` shows and, when asked to, does it."""

    name: str
    """environment, driver, torch, engines, libraries, check"""
    title: str
    command: str = ""
    """as a person types it; empty where nothing is to be done"""
    arguments: tuple[str, ...] = ()
    """the same for a child process; empty where only a person should do it"""
    done: bool = False
    why: str = ""
    source: str = ""
    date: str = ""
