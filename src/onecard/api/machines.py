"""doctor, setup, watch and the devices of this machine: what is here, what is wrong with it, what it is doing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from onecard.core.device import Device
from onecard.core.errors import BadFile, Unavailable, UnknownName
from onecard.core.finding import ERROR, Finding, RuleText, Step

if TYPE_CHECKING:
    from onecard.machine.facts import Facts


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What doctor found on one machine."""

    machine: tuple[str, ...]
    """what was looked at, in lines for people"""
    findings: tuple[Finding, ...]
    checks: int
    deep: bool = False
    measured: dict[str, str] = {}
    """what the deep test measured, in words"""
    taken: str = ""
    not_understood: tuple[str, ...] = ()
    """names in a fixture that no field has: they were left out"""

    @property
    def healthy(self) -> bool:
        """No check found an error; warnings and notes may be there."""
        return not any(f.severity == ERROR for f in self.findings)


def devices() -> tuple[Device, ...]:
    """All devices of this machine, GPUs first, the CPU last."""
    from onecard.machine import probe

    return probe()


def doctor(
    *,
    fixture: str | Path | None = None,
    deep: bool = False,
    redact: bool = False,
    record: str | Path | None = None,
    seconds: float = 60.0,
) -> Diagnosis:
    """Read-only checks of this machine, or of one that was recorded in a file.

    deep: also try the device in a child process (at most `seconds`). redact: no names of users, hosts and folders.
    record: write what was looked at to this file, for `fixture` on another machine. Raises BadFile for a bad fixture.
    """
    from onecard.machine.facts import encode
    from onecard.machine.rules import diagnose, rules

    facts, unknown = _read(fixture) if fixture is not None else (_collect(), ())
    if deep and fixture is None:
        from onecard.machine.deep import deep as try_device

        facts = msgspec.structs.replace(facts, deep=try_device(facts, seconds))
    if redact:
        from onecard.machine.redact import redact as without_names

        facts = without_names(facts)
    if record is not None:
        _write(Path(record), encode(facts))
    from onecard.machine.summary import measured, summary

    return Diagnosis(
        machine=summary(facts),
        findings=diagnose(facts),
        checks=len(rules()),
        deep=facts.deep is not None,
        measured=measured(facts),
        taken=facts.taken,
        not_understood=unknown,
    )


def explain(rule: str) -> RuleText:
    """One rule with its cause, its commands and its source. Raises UnknownName."""
    from onecard.machine.rules import rules

    known = {r.id: r for r in rules()}
    if rule not in known:
        raise UnknownName("rule", rule, known, next="onecard doctor --rules lists them")
    return known[rule].text()


def matching(message: str) -> tuple[RuleText, ...]:
    """Rules whose messages are a part of an error message, or hold it: for people who have a message and no rule."""
    words = " ".join(message.lower().split())
    if len(words) < 5:
        return ()
    return tuple(r for r in rules() if any(m.lower().strip(" .") in words or words in m.lower() for m in r.messages))


def rules() -> tuple[RuleText, ...]:
    """All rules of doctor."""
    from onecard.machine.rules import rules as all_rules

    return tuple(r.text() for r in all_rules())


def read_facts(path: str | Path) -> "Facts":
    """A recorded machine. Raises BadFile."""
    return _read(path)[0]


def _read(path: str | Path) -> tuple["Facts", tuple[str, ...]]:
    """A recorded machine, and the names in the file that no field has."""
    from onecard.machine.facts import SCHEMA
    from onecard.machine.recording import read

    file = Path(path)
    again = "onecard doctor --record facts.json writes one; docs/doctor.md has the fields"
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else file.read_bytes()
        facts, unknown = read(data, file.parent)
    except OSError as error:
        where = error.filename or file
        raise BadFile(f"{where} cannot be read", why=error.strerror or str(error), next=again) from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{file} is not a recorded machine", why=str(error), next=again) from None
    if facts.schema > SCHEMA:
        raise BadFile(
            f"{file} is from a newer onecard", why=f"schema {facts.schema}, known up to {SCHEMA}", next="update onecard"
        )
    return facts, unknown


def _collect() -> "Facts":
    from onecard.machine.collect import collect

    return collect()


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise BadFile(
            f"{path} cannot be written", why=error.strerror or str(error), next="give another place"
        ) from None


def setup(fixture: str | Path | None = None) -> tuple[Step, ...]:
    """The exact commands that set this machine (or a recorded one) up; steps that are done already say so."""
    from onecard.machine.preparation import steps

    return steps(read_facts(fixture) if fixture is not None else _collect())


def apply(step: Step) -> int:
    """Run one step in the foreground; its exit code. Raises Unavailable where only a person can do it."""
    import subprocess

    if not step.arguments:
        raise Unavailable(f"{step.title}: this is not done for you", why="it changes the system", next=step.command)
    command = [sys.executable if step.arguments[0] == "python" else step.arguments[0], *step.arguments[1:]]
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started", why=str(error), next=step.command) from None
