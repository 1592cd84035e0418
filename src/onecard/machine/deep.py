"""Running the trial of `doctor --deep` in a child with a deadline, and setting beside it what the card should reach."""

import datetime
import signal
import sys
from typing import Any

import msgspec

from onecard.machine import measured, naming
from onecard.machine.cpu import processor
from onecard.machine.devices import load
from onecard.machine.facts import Deep, Facts
from onecard.machine.nvml import link_rate
from onecard.machine.patience import Answer, ask

SECONDS = 60.0
"""for the child: importing torch takes up to 20 s on a slow machine, the trial itself about 10 s"""


def deep(facts: Facts, seconds: float = SECONDS) -> Deep:
    """The trial's results. A child that hangs, dies or prints garbage is a result too."""
    answer = ask([sys.executable, "-m", "onecard.machine.trial", str(min(20.0, seconds))], seconds)
    found = read(answer)
    whole = msgspec.structs.replace(found, **expected(facts, found))
    keep(found)
    return whole


def keep(found: Deep) -> None:
    """The CPU's numbers serve later plans too; what was measured before is compared with first, then the larger is kept."""
    if found.kind != "cpu" or not found.bandwidth or not found.flops:
        return
    cpu = processor()
    known = measured.recall(cpu)
    now = measured.Measured(
        processor=cpu.name,
        cores=cpu.cores,
        bandwidth=found.bandwidth,
        bandwidth_how=f"doctor --deep, {cpu.cores} threads",
        flops=found.flops,
        flops_how=f"measured: doctor --deep, {cpu.cores} threads, 1024 x 1024 x 1024",
        when=datetime.datetime.now(datetime.UTC).date().isoformat(),
        load=load(cpu),
    )
    measured.remember(cpu, measured.better(known, now) if known is not None else now)


def read(answer: Answer | None) -> Deep:
    """The last line that makes sense; what went wrong otherwise."""
    if answer is None:
        return Deep(stage="start", error="the child could not be started")
    best: Deep | None = None
    rest: list[str] = []
    for line in answer.text.splitlines():
        try:
            best = msgspec.json.decode(line, type=Deep)
        except msgspec.MsgspecError:
            rest.append(line.strip())
    if best is None:
        best = Deep(stage="start", error=next((x for x in reversed(rest) if x), "no words")[:400])
    if answer.code is None and best.stage != "done":
        return msgspec.structs.replace(best, late=True)
    if answer.code != 0 and best.error is None and best.stage != "done":
        # Killed by a signal in the middle of a stage: the driver or the library crashed.
        words = next((x for x in reversed(rest) if x), _ended(answer.code))
        launched = False if best.stage == "launch" else best.launched
        if (best.stage or "").startswith("import "):  # all that was measured before still holds
            broken = {(best.stage or "").removeprefix("import "): f"the process died: {words}"[:200]}
            return msgspec.structs.replace(best, imports=broken)
        return msgspec.structs.replace(best, error=words[:400], launched=launched)
    return best


def _ended(code: int | None) -> str:
    """ "the process died of SIGSEGV" for -11."""
    try:
        return f"the process died of {signal.Signals(-(code or 0)).name}"
    except ValueError:
        return f"the process ended with code {code}"


def expected(facts: Facts, found: Deep) -> dict[str, Any]:
    """The catalogue's numbers for the very card that was tried; for a CPU what was measured on it before."""
    if found.kind == "cpu":
        known = measured.recall(processor())
        if known is None or not known.bandwidth:
            return {}
        return {"expected_name": known.processor, "expected": {"bandwidth": known.bandwidth, **known.flops}}
    card = next((c for c in facts.cards if c.name == found.device), None)
    row = naming.row(found.device or "", card.memory_total if card else None)
    numbers: dict[str, float] = {}
    if row is not None:
        numbers = {"bandwidth": row.bandwidth, **row.flops}
    link = link_rate(card.link_generation_max, card.link_width_max) if card else None
    if link:
        numbers["link"] = link
    return {"expected_name": row.name if row is not None else found.device, "expected": numbers}
