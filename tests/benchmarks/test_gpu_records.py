"""Rows in the collector's own format become Records: to the byte, once, and nothing of a half-written line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_records

from onecard.core.record import Record

CARD = {
    "torch": "2.11.0+cu130", "cap": None, "gpu": "NVIDIA H200", "capability": [9, 0], "sms": 132, "total_memory": 150_754_820_096,
    "cuda": "13.0", "cudnn": 91900, "alloc_conf": "",
}  # fmt: skip
TRAIN = {
    **CARD, "case": "llama-7b-lora", "block": "train", "settings": {"length": "2048"}, "outcome": "ok", "wall": 14.5,
    "context_bytes": 547_356_672, "nvml_used": 20_000_000_000, "nvml_before": 500_000_000,
    "phases": [
        {
            "phase": "build", "allocated": 13_476_839_424, "reserved": 13_501_464_576, "peak_allocated": 13_476_839_424,
            "peak_reserved": 13_501_464_576, "retries": 0,
        },
        {
            "phase": "backward2", "allocated": 13_700_000_001, "reserved": 18_050_187_264, "peak_allocated": 17_203_456_513,
            "peak_reserved": 18_050_187_264, "retries": 0,
        },
    ],
    "seconds": [0.41, 0.40, 0.42], "median_seconds": 0.41, "unit": "tokens", "units": 2048, "rate": 4995.12,
}  # fmt: skip
OOM = {
    **CARD,
    "case": "huge",
    "block": "train",
    "settings": {},
    "outcome": "oom",
    "error": "OutOfMemoryError: CUDA out of memory",
    "phases": [],
    "wall": 3.0,
}
MICRO = {
    **CARD, "case": "bandwidth", "block": "micro", "settings": {}, "outcome": "ok", "wall": 9.0, "phases": [], "seconds": [0.0],
    "median_seconds": 0.0, "unit": "-", "units": 0,
    "rows": [
        {"what": "device copy", "mib": 256, "bytes_per_s": 4.0e12},
        {"what": "host to device", "pinned": True, "mib": 256, "bytes_per_s": 5.5e10},
        {"backend": "MATH", "tokens": 128, "forward_seconds": 1e-4, "backward_seconds": 2e-4, "saved_bytes": 4096, "forward_peak": 8192},
        {"dtype": "float16", "m": 1, "n": 4096, "k": 4096, "seconds": 1e-5, "flops": 3.3e12},
        {"backend": "FLASH_ATTENTION", "tokens": 128, "error": "no kernel"},
    ],
}  # fmt: skip
CAPS = {
    "block": "caps",
    "case": "llama-7b-lora",
    "outcome": "ok",
    "peak_reserved": 18_050_187_264,
    "smallest_cap": 17_900_000_000,
}


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    first = {**TRAIN, "outcome": "failed", "error": "no end in 110 s", "phases": []}
    lines = [json.dumps(row) for row in (first, OOM, MICRO, CAPS, TRAIN)]
    (raw / "results.jsonl").write_text("\n".join(lines) + "\n" + json.dumps(TRAIN)[:200])
    return raw


def figures(record):
    return {m.name: m.measured for m in record.measurements}


def made(folder):
    found, broken = gpu_records.rows(folder)
    return {f"{r['block']} {r['case']}": gpu_records.record(r, "2026-11-01T00:00:00+00:00") for r in found}, broken


def test_peaks_are_those_of_the_allocator_to_the_byte(folder):
    records, broken = made(folder)
    record = records["train llama-7b-lora"]
    assert broken == 1 and len(records) == 4, "half a line, and of two rows of one case the later one"
    found = figures(record)
    assert found["memory.allocated"] == 17_203_456_513 and found["memory.reserved"] == 18_050_187_264
    assert found["memory.context"] == 547_356_672 and found["memory.driver"] == 19_500_000_000
    assert found["step_seconds"] == 0.41 and found["train_tokens_per_s"] == 4995.12
    assert record.samples == {"step": [0.41, 0.40, 0.42]} and record.quality["phases"] == TRAIN["phases"]
    assert record.plan["device"] == {
        "name": "NVIDIA H200",
        "kind": "cuda",
        "memory_total": 150_754_820_096,
        "multiprocessors": 132,
    }
    assert record.environment["versions"] == {"torch": "2.11.0+cu130"} and record.environment["cuda"] == "13.0"


def test_an_out_of_memory_is_a_record_too(folder):
    record = made(folder)[0]["train huge"]
    assert record.outcome == "oom" and "out of memory" in record.error and record.measurements == ()


def test_every_line_of_a_microbenchmark_has_a_name_and_a_unit(folder):
    record = made(folder)[0]["micro bandwidth"]
    units = {m.name: (m.unit, m.measured) for m in record.measurements}
    assert units["bandwidth device copy mib 256"] == ("B/s", 4.0e12)
    assert units["bandwidth host to device pinned True mib 256"] == ("B/s", 5.5e10)
    assert units["bandwidth MATH tokens 128 saved_bytes"] == ("bytes", 4096)
    assert units["bandwidth float16 m 1 n 4096 k 4096 flops"] == ("FLOP/s", 3.3e12)
    assert not any("FLASH" in name for name in units), "what failed has no figure"
    assert len(units) == 8 and "step_seconds" not in units


def test_a_cap_is_kept_beside_what_was_reserved(folder):
    assert figures(made(folder)[0]["caps llama-7b-lora"]) == {
        "memory.smallest_cap": 17_900_000_000, "memory.peak_reserved": 18_050_187_264,
    }  # fmt: skip


def test_what_was_traced_afterwards_says_so(folder):
    record = gpu_records.record(
        TRAIN, "2026-11-01", {"memory.allocated": 17_203_456_513, "memory.reserved": 18_000_000_000}
    )
    errors = {m.name: m.error for m in record.measurements if m.error is not None}
    assert errors["memory.allocated"] == 0 and errors["memory.reserved"] == pytest.approx(-0.00278, abs=1e-5)
    assert record.quality["predicted"] == "afterwards"


def test_the_script_writes_the_same_file_twice_and_the_lines_of_the_gpu_check(folder):
    command = [sys.executable, "benchmarks/gpu_records.py", str(folder), "--date", "2026-11-01T00:00:00+00:00"]
    texts = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "4 Records" in done.stdout and "1 lines were no whole row" in done.stdout
        texts.append((folder.parent / "collected.jsonl").read_text())
    assert texts[0] == texts[1]
    from gpu_check import read

    assert all(isinstance(r, Record) for _, r in read(folder.parent / "collected.jsonl"))


def test_an_empty_folder_is_told(tmp_path):
    command = [sys.executable, "benchmarks/gpu_records.py", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "gpu_collect.py" in done.stderr


@pytest.mark.slow
def test_a_row_that_the_collector_itself_writes(tmp_path):
    """The collector's dry run on the CPU: its format, not what we remember of it."""
    pytest.importorskip("torch")
    command = [
        sys.executable,
        "benchmarks/gpu_collect.py",
        "--block",
        "micro",
        "--tiny",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    found, broken = gpu_records.rows(tmp_path)
    assert broken == 0 and {"bandwidth", "launch", "matmul"} <= {row["case"] for row in found}
    for row in found:
        record = gpu_records.record(row, "2026-11-01")
        assert record.outcome == "ok", record.error
        assert record.measurements and all(m.unit and m.measured is not None for m in record.measurements)
