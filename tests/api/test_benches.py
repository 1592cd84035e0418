"""bench: steps become Records one by one, a killed bench goes on, shares are of the device's own ceiling."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from onecard import api
from onecard.api import benches, plans, suite
from onecard.core.device import Device
from onecard.core.errors import DoesNotFit
from onecard.core.places import records_file
from onecard.core.record import Measurement, Record
from onecard.machine import microbenchmarks
from onecard.store import records as store
from onecard.workloads import get

CASES, DEVICE = suite.cases, plans.device
"""before the fixture puts others in their place"""

CARD = Device(
    name="test machine", kind="cpu", memory_total=8 << 30, bandwidth=20e9, flops={"fp32": 100e9}, multiprocessors=1
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("onecard.api.plans.device", lambda on=None: CARD)
    monkeypatch.setattr("onecard.api.suite.cases", lambda quick, on_gpu: ())
    monkeypatch.setattr(benches, "has", lambda module: False)
    monkeypatch.setattr(benches, "busy", lambda: "")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_step_that_cannot_run_says_why_and_the_next_goes_on():
    job = microbenchmarks.Job(
        device="cpu", threads=1, folder="nowhere", steps=("matmul fp99 8x8x8", "copy"), seconds=0.1
    )
    first, second = microbenchmarks.run(job)
    assert first.error and not first.samples
    assert second.samples and not second.error


@pytest.mark.slow
def test_a_step_that_failed_is_a_record_and_ends_no_bench(monkeypatch):
    monkeypatch.setattr("onecard.machine.microbenchmarks.names", lambda device, torch: ("matmul fp99 8x8x8", "copy"))
    (score,) = benches.bench(quick=True)
    assert score.name == "copy"
    failed = next(r for r in store.find(records_file(), kind="bench") if r.outcome == "failed")
    assert failed.error and not failed.measurements


@pytest.mark.slow
def test_the_measuring_process_ends_with_the_one_that_asked(tmp_path):
    """Left alone, it would go on for a minute and disturb the next bench."""
    job = microbenchmarks.Job(device="cpu", threads=1, folder=str(tmp_path), steps=("copy",) * 50, seconds=60.0)
    command = [sys.executable, "-m", "onecard.machine.microbenchmarks", msgspec.json.encode(job).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdin.close()
        assert child.wait(timeout=30) == 1


def test_a_copy_rate_counts_bytes_read_and_written(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra llm is not installed")
    torch.set_num_threads(1)
    job = microbenchmarks.Job(
        device="cpu", threads=1, folder=str(tmp_path), steps=("matmul fp32 64x64x64",), seconds=0.05
    )
    (step,) = microbenchmarks.run(job)
    assert step.unit == "FLOP/s" and step.ceiling == "fp32" and len(step.samples) >= 3
    assert msgspec.json.decode(msgspec.json.encode(step), type=microbenchmarks.Step) == step


@pytest.mark.slow
def test_the_disk_benchmark_leaves_no_file_behind(tmp_path):
    (step,) = microbenchmarks.run(microbenchmarks.Job(device="cpu", threads=1, folder=str(tmp_path), steps=("disk",)))
    assert step.samples and not list(tmp_path.iterdir())


KILLED_BENCH = """
from onecard.api import benches, plans, suite
from onecard.core.device import Device
plans.device = lambda on=None: Device(
    name="test machine", kind="cpu", memory_total=8 << 30, bandwidth=20e9, flops={"fp32": 100e9}, multiprocessors=1
)
suite.cases = lambda quick, on_gpu: ()
benches.has = lambda module: False
benches.bench(quick=True, told=lambda name, record: print(name, record is not None, flush=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_kill_9_loses_only_the_step_that_was_under_way():
    """A real process, killed while it reads the disk; the next one measures the disk and nothing else."""
    child = subprocess.Popen([sys.executable, "-c", KILLED_BENCH], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line == "disk False\n":
            child.send_signal(signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert [r.effective["step"] for r in store.find(records_file(), kind="bench")] == ["copy"]
    told = []
    scores = benches.bench(quick=True, told=lambda name, record: told.append(name))
    assert set(told) == {"disk"} and {s.name for s in scores} == {"copy", "disk"}
    assert len(store.find(records_file(), kind="bench")) == 2


@pytest.fixture
def one_case(monkeypatch):
    case = suite.Case(name="tiny", workload="chat", settings={"model": "m"}, names=suite.PP512_TG128, quick=True)
    monkeypatch.setattr("onecard.api.suite.cases", lambda quick, on_gpu: [("chat tiny", case)])
    monkeypatch.setattr("onecard.machine.microbenchmarks.names", lambda device, torch: ())
    return case


def proof(stop, **settings):
    """What prove would return: two rates, their raw times, and their shares of the device's limits."""
    rows = (
        Measurement(name="memory.peak", unit="bytes", predicted=(1, 2, 3), measured=2.0),
        Measurement(name="prefill_tokens_per_s", unit="tokens/s", predicted=(80, 90, 100), measured=100.0),
        Measurement(name="decode_tokens_per_s", unit="tokens/s", predicted=(8, 9, 10), measured=10.0),
        Measurement(name="decode_share_of_bandwidth", unit="share", predicted=None, measured=0.8),
        Measurement(name="decode_share_of_arithmetic", unit="share", predicted=None, measured=0.1),
    )
    return Record(
        id="proof", kind="prove", plan={}, started="", seconds=1.0, outcome="ok", requested={}, effective={}, environment={},
        measurements=rows, samples={"prefill_seconds": [5.12], "token_seconds": [0.1, 0.1, 0.05, 0.2, 0.1]},
    )  # fmt: skip


def test_a_proof_is_scored_under_the_names_of_llama_bench_with_spread_and_limit(monkeypatch, one_case):
    monkeypatch.setattr("onecard.api.runs.prove", lambda workload, **rest: proof(**rest))
    prefill, decode = benches.bench(quick=True)
    assert (prefill.name, decode.name) == ("tiny pp512", "tiny tg128") and decode.area == "chat"
    assert decode.samples == 5 and decode.spread == pytest.approx((20 - 5) / 2 / 10) and prefill.samples == 1
    assert decode.limit == "bandwidth" and decode.share == pytest.approx(0.8) and prefill.share is None
    assert decode.predicted == (8, 9, 10)


def test_a_quick_bench_begins_nothing_when_its_time_is_over(monkeypatch, one_case):
    monkeypatch.setattr(benches, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr("onecard.api.runs.prove", lambda workload, **rest: pytest.fail("it was begun"))
    told = []
    assert benches.bench(quick=True, told=lambda name, record: told.append(record)) == ()
    assert told[-1].outcome == "stopped" and "three minutes" in told[-1].error


def test_a_quick_bench_stops_a_proof_that_takes_too_long(monkeypatch, one_case):
    def endless(workload, stop, **settings):
        assert stop.wait(20), "nobody asked it to stop"
        return msgspec.structs.replace(proof(stop), outcome="stopped")

    monkeypatch.setattr(benches, "QUICK_SECONDS", 0.2)
    monkeypatch.setattr("onecard.api.runs.prove", endless)
    assert len(benches.bench(quick=True)) == 2, "what was measured until then counts"
    (record,) = store.find(records_file(), kind="bench")
    assert record.outcome == "stopped" and "three minutes" in record.error


def test_a_proof_that_does_not_fit_says_so_and_has_no_score(monkeypatch, one_case):
    def refuse(workload, **rest):
        raise DoesNotFit("this is predicted not to fit", why="it is large", next="less")

    monkeypatch.setattr("onecard.api.runs.prove", refuse)
    assert benches.bench(quick=True) == ()
    (record,) = store.find(records_file(), kind="bench")
    assert record.outcome == "failed" and "not to fit" in record.error and "\n" not in record.error


@pytest.mark.slow
def test_a_machine_that_is_busy_is_told_of(monkeypatch):
    monkeypatch.setattr(benches, "busy", lambda: "processor was 90% busy")
    assert {s.busy for s in benches.bench(quick=True)} == {"processor was 90% busy"}


def test_bench_records_do_not_correct_predictions(monkeypatch, one_case):
    """The proof itself is a Record with its plan; counting it twice, as work of another runtime, would bend the Factors."""
    from onecard.predict.calibrate import samples

    monkeypatch.setattr("onecard.api.runs.prove", lambda workload, **rest: proof(**rest))
    benches.bench(quick=True)
    assert samples(store.find(records_file()), CARD.name) == []


@pytest.mark.parametrize("quick", [True, False])
def test_every_workload_has_a_case_and_every_case_a_plan(monkeypatch, quick):
    monkeypatch.setattr("onecard.api.plans.device", DEVICE)
    found = list(CASES(quick=quick, on_gpu=True))
    proven = {name for name in api.workloads() if (work := get(name)).prove or (work.build and work.step)}
    assert {case.workload for _, case in found} == proven
    assert len({name for name, _ in found}) == len(found)
    for name, case in found:
        plan = api.plan(case.workload, on="RTX 4070 Ti", **case.settings)
        chosen = {key for step in plan.decisions for key in step.tried}
        if case in suite.SUITE:
            allowed = set(case.settings) | {"n_gpu_layers"}
            assert chosen <= allowed, f"{name}: a setting that each card chooses by itself compares with no other"


def test_on_a_processor_nobody_waits_for_the_large_cases():
    assert all(not case.gpu for _, case in CASES(quick=False, on_gpu=False))
    assert any(case.gpu for _, case in CASES(quick=False, on_gpu=True))
