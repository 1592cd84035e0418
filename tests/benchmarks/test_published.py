"""The published rates: targets hold on rows that shaped no constant, and the JSON has the agreed shape."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def frame():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import published_frame

        yield published_frame
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def report(frame):
    rows = [r for r in frame.read(BENCHMARKS / "measurements") if r.file == "speed" and r["task"] == "llm_inference"]
    return frame.report(frame.judge(rows))


@pytest.mark.parametrize(
    "name", ["decode, llama.cpp, batch 1", "prefill, llama.cpp", "transformers, vLLM, SGLang, ExLlama, AWQ rates"]
)
def test_targets_hold_on_held_out_rows(report, name):
    target = next(t for t in report["targets"] if t["name"] == name)
    assert target["split"] == "held-out"
    assert target["figures"]["rows"] >= 50
    assert target["verdict"] == "holds", target["figures"]


def test_few_rows_are_unmapped_and_each_has_a_reason(report):
    lost = [r for r in report["rows"] if r["predicted"] is None]
    assert len(lost) < 0.03 * len(report["rows"])
    assert all(r["unmapped"] for r in lost)


def test_the_json_has_the_agreed_fields(report):
    row = {
        "file", "line", "task", "source", "gpu", "model", "metric", "measured", "predicted", "unmapped", "engine", "quantity",
        "split",
    }  # fmt: skip
    group = {
        "task", "source", "metric", "engine", "quantity", "split", "rows", "mapped", "median_abs_error", "p90_abs_error",
        "median_signed_error", "coverage", "width", "false_fits", "false_nos",
    }  # fmt: skip
    assert all(set(r) == row for r in report["rows"])
    assert all(set(g) == group for g in report["groups"])
    assert {"name", "figures", "verdict"} <= set(report["targets"][0])
    assert len(report["targets"]) >= 5
    assert all(
        r["predicted"] is None or r["predicted"][0] <= r["predicted"][1] <= r["predicted"][2] for r in report["rows"]
    )
    json.loads(json.dumps(report, allow_nan=False))


def test_other_files_and_lines_are_read(tmp_path):
    header, first, *_ = (BENCHMARKS / "measurements" / "speed.csv").read_text(encoding="utf-8").splitlines()
    unknown = first.replace("Llama-2-7B", "Nobody-7B")
    (tmp_path / "speed.csv").write_text("\n".join((header, first, unknown)) + "\n", encoding="utf-8")
    command = [sys.executable, str(BENCHMARKS / "published.py"), "--data", str(tmp_path), "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(BENCHMARKS.parent / "src")},
        check=False,
    )
    rows = json.loads(done.stdout)["rows"]
    assert [r["line"] for r in rows] == [2, 3]
    assert rows[0]["predicted"] and rows[0]["measured"] == 120.6
    assert "Nobody-7B" in rows[1]["unmapped"]


def test_an_empty_folder_is_an_error(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "published.py"), "--data", str(tmp_path)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(BENCHMARKS.parent / "src")},
        check=False,
    )
    assert done.returncode == 2
    assert "memory.csv" in done.stderr
