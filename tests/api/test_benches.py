"""bench: steps become Records one by one, a killed bench goes on, shares are of the device's own ceiling."""

import msgspec
import pytest

from onecard.api import benches
from onecard.core.device import Device
from onecard.core.places import records_file
from onecard.machine import microbenchmarks
from onecard.store import records as store

CARD = Device(
    name="test machine", kind="cpu", memory_total=8 << 30, bandwidth=20e9, flops={"fp32": 100e9}, multiprocessors=1
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("onecard.api.plans.device", lambda on=None: CARD)
    monkeypatch.setattr(benches, "SUITE", ())
    monkeypatch.setattr(benches, "has", lambda module: False)


def test_every_step_is_a_record_with_raw_samples():
    told = []
    scores = benches.bench(quick=True, told=lambda name, record: told.append((name, record and record.outcome)))
    assert told == [("copy", None), ("copy", "ok"), ("disk", None), ("disk", "ok")]
    records = store.find(records_file(), kind="bench")
    assert {r.effective["step"] for r in records} == {"copy", "disk"}
    copy = next(s for s in scores if s.name == "copy")
    assert copy.area == "memory" and copy.ceiling == 20e9 and copy.samples == 3
    assert copy.share == pytest.approx(copy.median / 20e9)
    assert next(s for s in scores if s.name == "disk").share is None


def test_a_killed_bench_continues_with_what_is_missing():
    class Killed(Exception):
        pass

    def die(name, record):
        if record is not None:
            raise Killed

    with pytest.raises(Killed):
        benches.bench(quick=True, told=die)
    assert [r.effective["step"] for r in store.find(records_file(), kind="bench")] == ["copy"]
    told = []
    scores = benches.bench(quick=True, told=lambda name, record: told.append(name))
    assert set(told) == {"disk"}, "copy was not measured again"
    assert {s.name for s in scores} == {"copy", "disk"}
    told.clear()
    benches.bench(quick=True, told=lambda name, record: told.append(name))
    assert "copy" in told, "a finished bench is not continued"


def test_a_step_that_cannot_run_says_why_and_the_next_goes_on():
    job = microbenchmarks.Job(
        device="cpu", threads=1, folder="nowhere", steps=("matmul fp99 8x8x8", "copy"), seconds=0.1
    )
    first, second = microbenchmarks.run(job)
    assert first.error and not first.samples
    assert second.samples and not second.error


def test_a_copy_rate_counts_bytes_read_and_written(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra llm is not installed")
    torch.set_num_threads(1)
    job = microbenchmarks.Job(
        device="cpu", threads=1, folder=str(tmp_path), steps=("matmul fp32 64x64x64",), seconds=0.05
    )
    (step,) = microbenchmarks.run(job)
    assert step.unit == "FLOP/s" and step.ceiling == "fp32" and len(step.samples) >= 3
    assert msgspec.json.decode(msgspec.json.encode(step), type=microbenchmarks.Step) == step


def test_the_disk_benchmark_leaves_no_file_behind(tmp_path):
    (step,) = microbenchmarks.run(microbenchmarks.Job(device="cpu", threads=1, folder=str(tmp_path), steps=("disk",)))
    assert step.samples and not list(tmp_path.iterdir())
