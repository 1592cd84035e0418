"""Predicted against measured on this machine: no workload is left out, and every case has a plan here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import this_machine

from onecard import api
from onecard.core.record import Measurement, Record
from onecard.workloads import get


def test_every_workload_is_measured_and_every_case_has_a_plan():
    cases = this_machine.cases()
    proven = {name for name in api.workloads() if (work := get(name)).prove or (work.build and work.step)}
    assert {workload for _, workload, _ in cases} == proven
    assert len({name for name, _, _ in cases}) == len(cases)
    for _, workload, settings in cases:
        assert api.plan(workload, on="RTX 4070 Ti", **settings).estimate.memory.peak_bytes.likely > 0


def test_memory_holds_within_ten_percent_and_rates_inside_their_range():
    rows = (
        Measurement(name="memory.peak", unit="bytes", predicted=(80, 109, 120), measured=100.0),
        Measurement(name="train_tokens_per_s", unit="tokens/s", predicted=(80, 100, 120), measured=79.0),
        Measurement(name="memory.weights", unit="bytes", predicted=(1, 1, 1), measured=9.0),
        Measurement(name="step_seconds", unit="s", predicted=None, measured=9.0),
    )
    record = Record(
        id="r", kind="prove", plan={}, started="", seconds=1.0, outcome="ok", requested={}, effective={}, environment={},
        measurements=rows,
    )  # fmt: skip
    found = this_machine.lines("case", record)
    assert [(line["figure"], line["holds"]) for line in found] == [("memory.peak", True), ("train_tokens_per_s", False)]
    assert "missed" in this_machine.shown(found[1]) and "+26.6%" in this_machine.shown(found[1])
