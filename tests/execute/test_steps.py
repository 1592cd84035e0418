"""A workload that gives `build` and `step` is proven without another line: its memory, its time a step, its rate."""

import statistics
from pathlib import Path

import msgspec
import pytest

from onecard.execute.launch import launch
from onecard.execute.steps import LEAST
from onecard.store.journal import read, record_of

pytest.importorskip("torch", reason="needs the extra llm")


@pytest.mark.slow
def test_build_and_steps_are_measured(make_job):
    job, journal = make_job()
    file = str(Path(__file__).with_name("build_and_step.py"))
    job = msgspec.structs.replace(job, workload=file, settings={"rows": 8}, mode="prove")
    ending = launch(job, journal)
    assert ending.outcome == "ok", ending.error
    found = {m.name: m.measured for m in record_of(journal.path).measurements}
    assert found["memory.peak"] == pytest.approx(64 * 1024**2, rel=0.25), "the state, and what torch's kernels hold"
    taken = next(e["seconds"] for e in read(journal.path) if e["event"] == "timings")
    assert len(taken) >= LEAST
    assert found["step_seconds"] == statistics.median(taken)
    assert found["step_rows_per_s"] == pytest.approx(8 / statistics.median(taken))
    assert [e["name"] for e in read(journal.path) if e["event"] == "phase_end"] == ["build", "warm_up", "step"]
