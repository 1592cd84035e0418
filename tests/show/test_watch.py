"""The watch screen: what it shows, what it must never show, and that it fits."""

import io

import pytest
from rich.console import Console

from onecard.core.reading import Attached, Holder, Moment, Reading
from onecard.show.spark import sparkline
from onecard.show.watch import History, watch_view

GiB = 1024**3


def screen(moment, width=110, history=None):
    history = history or History()
    history.add(moment)
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(watch_view(moment, history))
    return console.file.getvalue()


def card(**changes):
    return Reading(**{"time": 1.0, "device": "card", "memory_used": 6 * GiB, "memory_total": 12 * GiB, **changes})


def test_memory_by_process_that_is_unknown_is_never_zero():
    """WSL2 and Windows: the driver tells neither the list nor the sizes."""
    told = screen(Moment(time=1.0, readings=(card(holders=(Holder(pid=7, name="chrome.exe"),)),)))
    assert "not available" in told and "0 B" not in told and "chrome.exe" in told
    assert "not available" in screen(Moment(time=1.0, readings=(card(holders=None),)))
    assert "no process" in screen(Moment(time=1.0, readings=(card(holders=()),)))


def test_nothing_known_shows_as_unknown():
    told = screen(Moment(time=1.0, readings=(Reading(time=1.0, device="card"),)))
    assert "unknown" in told and "None" not in told and "0 B" not in told and "0%" not in told and " 0 " not in told


def test_idle_is_no_reason_to_worry_and_heat_is():
    assert "held back" not in screen(Moment(time=1.0, readings=(card(throttle=("idle",)),)))
    assert "heat" in screen(Moment(time=1.0, readings=(card(throttle=("heat (software)",)),)))


@pytest.mark.parametrize(
    ("peak", "words"),
    [(9.5e9, "as planned"), (12e9, "above the plan"), (5e9, "below the plan"), (None, "not observed")],
)
def test_memory_against_the_plan(peak, words):
    run = Attached(id="x", planned_peak=(9e9, 1e10, 1.1e10), peak=peak)
    assert words in screen(Moment(time=1.0, readings=(), run=run))


@pytest.mark.parametrize(
    ("rate", "words"), [(1000.0, "as planned"), (500.0, "-50%"), (2000.0, "faster"), (None, "not measured")]
)
def test_speed_against_the_plan(rate, words):
    measured = {} if rate is None else {"decode_tokens_per_s": rate}
    run = Attached(id="x", planned_rates={"decode_tokens_per_s": (900.0, 1000.0, 1200.0)}, measured=measured)
    assert words in screen(Moment(time=1.0, readings=(), run=run))


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_no_line_is_longer_than_the_terminal(width):
    run = Attached(id="x", planned_peak=(9e9, 1e10, 1.1e10), done=5, of=10, unit="steps", shown={"loss": 1.5})
    moment = Moment(time=1.0, readings=(card(holders=(Holder(pid=1, name="x" * 80, bytes=GiB),)),), run=run)
    assert max(len(line) for line in screen(moment, width).splitlines()) <= width


def test_history_keeps_each_device_apart():
    history = History(width=4)
    for share in (0.0, 0.5, 1.0):
        history.add(Moment(time=1.0, readings=(card(utilization=share), card(index=1, utilization=0.0))))
    first, second = (history.spark(card(index=i), "busy", 1.0).plain for i in (0, 1))
    assert first == " ▁▅█" and second == " ▁▁▁"


def test_sparklines():
    assert sparkline([0, 50, 100], 3, high=100) == "▁▅█"
    assert sparkline([None, 1.0], 3) == " ·█"
    assert sparkline([], 3) == "   " and sparkline([0, 0], 2) == "▁▁"


def test_three_counts_of_memory_are_explained():
    run = Attached(id="x", peaks={"allocated": 1e9, "reserved": 2e9, "driver": 3e9, "rss": 4e9})
    told = screen(Moment(time=1.0, readings=(), run=run))
    assert told.index("tensors") < told.index("torch") < told.index("driver") and "rss" not in told


def test_the_works_own_figure_stands_for_the_rate_until_it_is_measured():
    run = Attached(id="x", planned_rates={"train_tokens_per_s": (900.0, 1000.0, 1200.0)}, shown={"tokens_per_s": 500.0})
    assert "now 500" in screen(Moment(time=1.0, readings=(), run=run)) and "-50%" in screen(
        Moment(time=1.0, readings=(), run=run)
    )
    two = Attached(
        id="x",
        planned_rates={"prefill_tokens_per_s": (1, 2, 3), "decode_tokens_per_s": (1, 2, 3)},
        shown={"tokens_per_s": 2},
    )
    assert "now" not in screen(Moment(time=1.0, readings=(), run=two))  # whose figure it is cannot be told


@pytest.mark.parametrize(("width", "height"), [(110, 40), (80, 24), (60, 16), (44, 14), (40, 12)])
def test_a_small_terminal_shows_the_run_and_whole_labels(width, height):
    run = Attached(
        id="x", phase="train", planned_peak=(9e9, 1e10, 1.1e10), planned_rates={"train_tokens_per_s": (1, 2, 3)}
    )
    holders = tuple(Holder(pid=i, name=f"program {i}", bytes=GiB) for i in range(9))
    moment = Moment(
        time=1.0, readings=(card(utilization=0.5, power=100.0, power_limit=200.0, holders=holders),), run=run
    )
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(watch_view(moment, History(0), width, height))
    seen = console.file.getvalue().splitlines()[:height]
    assert any("memory" in line for line in seen) and any("planned" in line for line in seen)
    assert all("…" not in line.partition("program")[0] for line in seen if "GiB of" in line or "busy" in line)


def test_a_card_that_waits_for_the_host_is_told_and_a_busy_or_free_one_is_not():
    working = Attached(id="x", phase="train", done=5, of=50)

    def seen(busy, run):
        history = History()
        for _ in range(10):
            told = screen(Moment(time=1.0, readings=(card(utilization=busy),), run=run), history=history)
        return "waits for the host" in told

    assert seen(0.2, working) and not seen(0.9, working)
    assert not seen(0.2, None) and not seen(0.2, Attached(id="x", outcome="ok", done=50))
