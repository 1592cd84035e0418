"""The GPU check without a GPU: tiny steps on the CPU, resumed, half-written lines measured again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(out, *arguments):
    command = [sys.executable, "benchmarks/gpu_check.py", "--dry", "--out", str(out), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_dry_run_writes_a_record_for_each_step_and_resumes(tmp_path):
    out = tmp_path / "records.jsonl"
    first = check(out, "--block", "steps")
    assert first.returncode == 0, first.stderr
    lines = out.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        name, record = json.loads(line)
        assert record["outcome"] == "ok", record["error"]
        assert record["measurements"][0]["name"] == "step_seconds"
        assert name in first.stdout
    out.write_text(lines[0] + "\n" + lines[1][:100])
    second = check(out, "--block", "steps")
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
