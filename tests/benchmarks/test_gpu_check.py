"""The GPU check without a GPU: tiny steps on the CPU, resumed, half-written lines measured again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_cases
import gpu_check
import gpu_matrix

from onecard import api
from onecard.core.record import Measurement, Record


def check(out, *arguments):
    command = [sys.executable, "benchmarks/gpu_check.py", "--dry", "--out", str(out), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_dry_run_writes_a_record_for_each_step_and_resumes(tmp_path):
    out = tmp_path / "records.jsonl"
    first = check(out, "--block", "vision")
    assert first.returncode == 0, first.stderr
    lines = out.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        name, record = json.loads(line)
        assert record["outcome"] == "ok", record["error"]
        assert record["measurements"][0]["name"] == "step_seconds"
        assert name in first.stdout
    out.write_text(lines[0] + "\n" + lines[1][:100])
    second = check(out, "--block", "vision")
    assert second.stderr.count("...") == 1, "only the half-written one is measured again"
    whole = [json.loads(line)[0] for line in out.read_text().splitlines() if line.endswith("]")]
    assert sorted(whole) == sorted(json.loads(line)[0] for line in lines)


def test_without_a_gpu_it_says_so():
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu_check.py"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if "predicted" in done.stdout:
        pytest.skip("this machine has a CUDA device")
    assert done.returncode == 0 and "no CUDA device here" in done.stdout


def test_the_matrix_holds_what_was_asked_for():
    steps = [step for block in gpu_matrix.STEPS.values() for step in block]
    assert len({gpu_matrix.name_of(c, s, None) for c, s in steps}) == len(steps)
    for case in ("resnet50", "detector"):
        assert {s["batch"] for c, s in steps if c == case} == {32, 64, 128, 256}
    for case in ("lora", "qlora"):
        assert {(s["length"], s["checkpointing"]) for c, s in steps if c == case} == {
            (n, c) for n in (512, 1024, 2048) for c in (True, False)
        }
    assert {s["quant"] for s in gpu_matrix.CHAT} == {"bf16", "int8", "nf4"} and len(gpu_matrix.CHAT) == 9
    assert len(gpu_matrix.MUST_FAIL) == 2 and all(step in steps for step in gpu_matrix.MUST_FAIL)
    assert {case for case, _ in steps} == {case for case, _ in gpu_matrix.TINY} | {"qlora"}
    assert all(callable(getattr(gpu_cases, case)) for case, _ in steps)


def test_chat_and_pretrain_have_plans_on_a_large_card_and_some_under_the_budget():
    card = api.device("H200")
    for name, cases in (("chat", gpu_matrix.CHAT), ("pretrain", gpu_matrix.PRETRAIN)):
        for settings in cases:
            assert api.plan(name, on=card, **settings).verdict == "fits"
    verdicts = {s["quant"]: api.plan("chat", on=card, budget="12GiB", **s).verdict for s in gpu_matrix.CHAT[::3]}
    assert verdicts["bf16"] == "no" and verdicts["nf4"] == "fits", "a 7B model in 16 bit is larger than 12 GiB"


def test_under_the_budget_only_what_fits_and_the_two_that_must_fail(monkeypatch):
    asked = []
    monkeypatch.setattr(gpu_check, "predict", lambda case, s, card, budget, tiny: ({}, {"fits": case == "vae"}))
    monkeypatch.setattr(gpu_check, "step_record", lambda case, s, *rest: asked.append((case, s)))
    for block in gpu_matrix.STEPS.values():
        for case, settings in block:
            gpu_check.capped(case, settings, "cuda", None)
    assert [c for c, _ in asked if c != "vae"] == [c for c, _ in gpu_matrix.MUST_FAIL]
    assert len(asked) == 4


def row(name, predicted, measured, i, **plan):
    rows = (
        Measurement(name="memory.reserved", unit="bytes", predicted=(90, 100, 110), measured=105.0),
        Measurement(name="step_steps_per_s", unit="steps/s", predicted=predicted, measured=measured),
    )
    return name, Record(
        id=f"r{i}", kind="prove", plan={"device": {"name": "card"}, **plan}, started=f"2026-01-{i + 1:02}", seconds=3.0, outcome="ok",
        requested={}, effective={}, environment={}, measurements=rows,
    )  # fmt: skip


def test_the_table_says_where_a_verdict_was_wrong_and_the_summary_what_a_calibration_gains():
    rows = [row(f"lora {i}", (0.8, 1.0, 1.2), 0.5, i) for i in range(8)]
    rows.append(row("lora 9 under 12.00 GiB", (0.8, 1.0, 1.2), 0.5, 9, fits=False))
    text = gpu_check.table(rows)
    assert text.count("+100.0%") == 9 and "said no  : WRONG" in text
    said = gpu_check.summary(rows, "card")
    assert "9 Records" in said and "memory: median error 4.8%" in said and "0 of 9 inside" in said
    assert "median error 50.0% before and" in said and "7.4% after" in said, "in seconds: half of what was measured"


@pytest.mark.slow
@pytest.mark.parametrize(("case", "settings"), [*gpu_matrix.TINY, ("qlora", {"length": 16, "checkpointing": True})])
def test_every_case_is_built_and_stepped_on_a_fake_card(case, settings):
    """The same functions that a card runs, with small nets: a plain mistake in one would show here."""
    pytest.importorskip("diffusers")
    pytest.importorskip("bitsandbytes")
    ranges, plan = gpu_check.predict(case, settings, api.device("H200"), gpu_matrix.BUDGET, True)
    assert ranges["reserved"][1] >= ranges["allocated"][1] > 0 and plan["fits"] and plan["context"] > 0


@pytest.mark.slow
def test_a_microbenchmark_is_a_step_of_its_own(tmp_path):
    out = tmp_path / "records.jsonl"
    assert check(out, "--block", "micro").returncode == 0
    assert [json.loads(line)[0] for line in out.read_text().splitlines()] == ["copy", "launch"]
