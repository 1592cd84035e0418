"""Traced events through the allocator model: phases, timeline, breakdown, and the point of out of memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from onecard.core.cost import Events
from onecard.core.units import MiB
from onecard.predict.allocator_settings import AllocatorSettings
from onecard.predict.replay import breakdown, live, phase_at, replay

STEP = Events(
    sizes=(64 * MiB, 30 * MiB, 16 * MiB, 64 * MiB, 12 * MiB),
    order=(0, 1, 2, 2, 3, 1, 4),
    labels=(0, 1, 2, 3, 1),
    names=(
        ("weights", "net", "aten::empty"),
        ("activations", "net.fc", "aten::mm"),
        ("workspace", "net.fc", "aten::mm"),
        ("gradients", "net.fc", "aten::mm"),
    ),
    marks=((0, "build"), (1, "forward"), (4, "backward")),
)


def test_peaks_by_phase():
    result = replay(STEP)
    assert result.peak_allocated == (64 + 30 + 64) * MiB
    assert result.peak_event == 4
    forward, backward = result.phase("forward"), result.phase("backward")
    assert forward.allocated == (64 + 30 + 16) * MiB
    assert forward.allocated_after == 94 * MiB
    assert (backward.first, backward.allocated) == (4, 158 * MiB)
    # 12 MiB at the end come from the cached 16 MiB of the workspace: nothing new is taken
    assert result.peak_reserved == backward.reserved == (64 + 30 + 16 + 64) * MiB
    assert result.phase("evaluate") is None


def test_who_holds_the_peak():
    held = breakdown(STEP, replay(STEP).peak_event)
    assert held.total == 158 * MiB
    assert held.categories == {"weights": 64 * MiB, "gradients": 64 * MiB, "activations": 30 * MiB}
    assert list(held.modules) == ["net.fc", "net"]
    assert held.operators["aten::mm"] == 94 * MiB
    assert live(STEP, len(STEP.order) - 1) == [0, 3, 4]


def test_out_of_memory_says_where():
    result = replay(STEP, capacity=150 * MiB)
    assert result.oom is not None
    assert (result.oom.phase, result.oom.operator, result.oom.asked) == ("backward", "aten::mm", 64 * MiB)
    assert (result.oom.category, result.oom.allocated, result.oom.limit) == ("gradients", 94 * MiB, 150 * MiB)
    assert phase_at(STEP, result.oom.event) == "backward"
    # the cached workspace went back first: a retry saves a slightly larger card
    saved = replay(STEP, capacity=160 * MiB)
    assert (saved.oom, saved.retries) == (None, 1)


def test_timeline_has_a_point_for_each_event():
    result = replay(STEP, timeline=True)
    assert len(result.allocated) == len(result.reserved) == len(STEP.order)
    assert max(result.allocated) == result.peak_allocated
    assert result.allocated[-1] == (64 + 64 + 12) * MiB
    assert replay(STEP).allocated == ()


def test_emptying_the_cache_lowers_what_is_reserved():
    drop = Events(sizes=STEP.sizes, order=STEP.order, marks=STEP.marks, cache_drops=(4,))
    assert replay(drop).peak_reserved == 158 * MiB
    assert replay(STEP).peak_reserved == 174 * MiB


@given(st.lists(st.integers(1, 40 * MiB), min_size=1, max_size=40), st.data())
@settings(max_examples=100, deadline=None)
def test_peak_of_any_order_is_at_least_what_lives(sizes, data):
    order = []
    alive = []
    for number in range(len(sizes)):
        order.append(number)
        alive.append(number)
        while alive and data.draw(st.booleans()):
            order.append(alive.pop(data.draw(st.integers(0, len(alive) - 1))))
    events = Events(sizes=tuple(sizes), order=tuple(order))
    most = max(sum(sizes[n] for n in live(events, at)) for at in range(len(order)))
    for kind in (AllocatorSettings(), AllocatorSettings(expandable_segments=True)):
        result = replay(events, kind)
        assert result.peak_requested == most
        assert most <= result.peak_allocated <= result.peak_reserved
        assert replay(events, kind, capacity=most - 1).oom is not None
        assert replay(events, kind, capacity=result.peak_reserved).oom is None
