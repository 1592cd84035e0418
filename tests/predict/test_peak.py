"""Peak memory of a traced Cost on a card: parts add up, caps act, guesses widen."""

import msgspec
import pytest

from onecard.core.cost import Cost, Events, Part, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.core.units import GiB, MiB
from onecard.predict.allocator_settings import parse
from onecard.predict.peak import GUESSED, answer, traced_memory

EVENTS = Events(
    sizes=(400 * MiB, 300 * MiB, 200 * MiB, 350 * MiB),
    order=(0, 1, 1, 2, 3),
    labels=(0, 1, 1, 2),
    names=(("weights", "net", "build"), ("inputs", "", "aten::mm"), ("gradients", "net", "aten::mm")),
    marks=((0, "build"), (1, "forward"), (4, "backward")),
)
CONTEXT = Phase(name="step", parts=(Part(name="context", bytes=Range(90 * MiB, 100 * MiB, 120 * MiB)),))
COST = Cost(phases=(CONTEXT,), runtime="torch", basis="traced", events=EVENTS)


def card(size):
    return Device(name="card", kind="cuda", memory_total=size, bandwidth=1e12)


def test_parts_add_up_to_what_the_process_takes():
    memory = traced_memory(COST, card(8 * GiB))
    # 400, then 300 cached (200 is served from it: the rest is split off), then 350 of its own
    assert memory.reserved.likely == 1050 * MiB
    assert memory.allocated.likely == (400 + 200 + 350) * MiB
    assert memory.peak_bytes.likely == 1150 * MiB
    assert memory.phase == "backward"
    for end in ("low", "likely", "high"):
        assert sum(getattr(p, end) for p in memory.parts.values()) == pytest.approx(getattr(memory.peak_bytes, end))
    assert memory.parts["weights"].likely == 400 * MiB
    assert memory.parts["other"].likely == 100 * MiB


def test_a_cap_changes_the_peak_only_where_retries_help():
    tight = traced_memory(COST, card(8 * GiB), budget=1100 * MiB)
    assert tight.peak_bytes.likely > tight.usable_bytes  # nothing whole to give back: it would not fit
    events = msgspec.structs.replace(EVENTS, sizes=(400 * MiB, 300 * MiB, 350 * MiB, 350 * MiB))
    cost = msgspec.structs.replace(COST, events=events)
    assert traced_memory(cost, card(8 * GiB)).reserved.likely == 1400 * MiB
    saved = traced_memory(cost, card(8 * GiB), budget=1250 * MiB)
    assert saved.reserved.likely == 1100 * MiB  # the 300 MiB went back to the driver first
    assert saved.peak_bytes.likely <= 1250 * MiB


def test_guessed_scratch_widens_the_range():
    sure = traced_memory(COST, card(8 * GiB))
    names = (*EVENTS.names[:2], ("workspace", "net", f"{GUESSED}: cudnn"))
    unsure = traced_memory(
        msgspec.structs.replace(COST, events=msgspec.structs.replace(EVENTS, names=names)), card(8 * GiB)
    )
    assert unsure.peak_bytes.likely == sure.peak_bytes.likely
    assert unsure.peak_bytes.high - sure.peak_bytes.high == 350 * MiB
    assert unsure.peak_bytes.width > sure.peak_bytes.width


def test_the_answer_says_where_it_stops():
    fine = answer(COST, "net.py:step", card(8 * GiB))
    assert fine.fits
    assert fine.context == 100 * MiB
    assert len(fine.replay.allocated) == 5
    stopped = answer(COST, "net.py:step", card(1 * GiB))
    assert stopped.fits is False
    assert stopped.replay.oom.phase == "backward"
    assert (
        answer(COST, "net.py:step", card(8 * GiB), allocator="expandable_segments:True").replay.peak_reserved
        < 1050 * MiB
    )


def test_a_memory_fraction_is_a_part_of_the_total():
    half = traced_memory(COST, card(2 * GiB), settings=parse("per_process_memory_fraction:0.5"))
    assert half.reserved.likely == 1050 * MiB  # more than half of 2 GiB: out of memory, and the need is shown
    assert answer(COST, "x", card(2 * GiB), allocator="per_process_memory_fraction:0.5").replay.oom.limit == 1 * GiB
