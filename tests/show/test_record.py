"""What a person reads after a run: no table of promises where the work never began, and how a stopped training goes on."""

from rich.console import Console

from onecard.core.record import Measurement, Record
from onecard.show.record import record_view

PEAK = Measurement(name="memory.peak", unit="bytes", predicted=(5e7, 9e7, 2e8), measured=12_000.0)
RATE = Measurement(name="train_rows_per_s", unit="rows/s", predicted=(500.0, 1000.0, 2000.0), measured=900.0)


def screen(outcome, *, measurements=(), error="", time=("train",), kind="run"):
    plan = {"workload": "translate", "settings": {}, "estimate": {"time": {key: {} for key in time}}}
    record = Record(
        id="abc123",
        kind=kind,
        plan=plan,
        started="2026-01-01T00:00:00",
        seconds=3.0,
        outcome=outcome,
        requested={},
        effective={},
        environment={},
        measurements=measurements,
        error=error,
    )
    console = Console(width=120)
    with console.capture() as shown:
        console.print(record_view(record))
    return shown.get()


def test_a_mistake_in_a_file_is_told_without_a_table_of_promises():
    shown = screen("failed", measurements=(PEAK,), error="row 31 has the label maybe")
    assert "row 31" in shown
    assert "predicted" not in shown


def test_what_failed_in_the_middle_shows_what_was_measured():
    assert "900" in screen("failed", measurements=(PEAK, RATE))


def test_a_stopped_training_says_how_it_goes_on():
    assert "onecard resume abc123" in screen("stopped", measurements=(PEAK, RATE))
    assert "onecard resume" not in screen("ok", measurements=(PEAK, RATE))
    assert "onecard resume" not in screen("stopped", measurements=(PEAK, RATE), kind="prove")
    assert "onecard resume" not in screen("stopped", measurements=(PEAK,), time=("decode",))


def test_training_stands_for_the_whole_and_decode_for_a_chat():
    from onecard.show.text import main_rate

    assert main_rate(["train_rows_per_s", "write_rows_per_s"]) == "train_rows_per_s"
    assert main_rate(["prefill_tokens_per_s", "decode_tokens_per_s"]) == "decode_tokens_per_s"
