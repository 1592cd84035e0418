"""The comparison with a GPU, on a results folder made up in the collector's own format from a tiny traced case."""

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

try:  # reads torch when it is imported, so it must be there before CUDA is faked
    import bitsandbytes
except ImportError:
    bitsandbytes = None

import gpu_collect
import gpu_trace

from onecard.predict.snapshot import snapshot

CASE = "gpt2-124m-b1"
EXTRA = 777_728
"""bytes of a request that "only the card" makes"""


@pytest.fixture(scope="module")
def made():
    """(row, recording) as the collector would write them, for a card that does exactly what the trace says."""
    gpu_collect.TINY = True
    traced = gpu_trace.trace_case(CASE, (9, 0), 132)
    row = {
        "case": CASE, "block": "train", "outcome": "ok", "cap": None, "torch": "2.11.0+cu130", "gpu": "NVIDIA H200",
        "capability": [9, 0], "sms": 132, "context_bytes": 530 << 20, "median_seconds": 0.01,
        "phases": [{**p, "retries": 0} for p in gpu_trace.phases(traced)],
    }  # fmt: skip
    exported = snapshot(traced.events)
    events = [[e["action"], e["size"], e["addr"], e["stream"]] for e in exported["device_traces"][0]]
    segments = [
        {k: s[k] for k in ("address", "total_size", "stream")}
        | {"blocks": [[b["state"], b["size"], b["requested_size"]] for b in s["blocks"]]}
        for s in exported["segments"]
    ]
    return row, {"events": events, "segments_at_end": segments}


def folder(path, row, recording):
    (path / "results.jsonl").write_text(
        json.dumps({"case": "bandwidth", "block": "micro"}) + "\n" + json.dumps(row) + "\n"
    )
    data = gzip.compress(json.dumps(recording).encode())
    with tarfile.open(path / "events-train-1of1.tar", "w") as tar:
        info = tarfile.TarInfo(f"{CASE}.json.gz")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


def run(capsys, *arguments):
    code = gpu_trace.main([*arguments])
    return code, capsys.readouterr().out


def test_nothing_collected_is_said(capsys, tmp_path):
    code, text = run(capsys, "--records", str(tmp_path))
    assert code == 0
    assert "No rows from a GPU yet" in text


@pytest.mark.slow
def test_a_card_that_agrees_holds_every_bar(capsys, tmp_path, made):
    code, text = run(capsys, "--records", str(folder(tmp_path, *made)), "--json")
    (entry,) = json.loads(text)
    assert (entry["allocated_error"], entry["reserved_error"]) == (0, 0)
    assert entry["model"]["same_address"] == entry["model"]["allocations"] > 100
    assert entry["only_real"] == []
    assert entry["context"] == 530 << 20
    assert entry["predicted_seconds"] > 0
    assert [p["phase"] for p in entry["phases"]][:4] == ["build", "forward0", "backward0", "optimizer0"]
    assert code == 0


@pytest.mark.slow
def test_a_card_that_takes_more_misses_the_bar_and_shows_where(capsys, tmp_path, made):
    row, recording = made
    worse = {**row, "phases": [{**p, "peak_allocated": int(p["peak_allocated"] * 1.02)} for p in row["phases"]]}
    code, text = run(capsys, "--records", str(folder(tmp_path, worse, recording)))
    assert code == 1
    assert "MISSED" in text
    assert "forward2" in text  # a phase more than 1 % off


@pytest.mark.slow
def test_a_request_that_only_the_card_made_is_found_behind_its_operator(tmp_path, made):
    row, recording = made
    events = [list(e) for e in recording["events"]]
    at = [n for n, e in enumerate(events) if e[0] == "alloc"][60] + 1
    extra = [[a, EXTRA, 1 << 50, 0] for a in ("alloc", "free_requested", "free_completed")]
    changed = {**recording, "events": events[:at] + extra + events[at:]}
    (entry,) = gpu_trace.compare(folder(tmp_path, row, changed), [])
    (missing,) = entry["only_real"]
    assert (missing["bytes"], missing["times"]) == (EXTRA, 1)
    assert "::" in missing["after"] or missing["after"]


def test_kinds_have_their_bars():
    assert gpu_trace.kind("resnet50-bf16-nhwc-b32") == "convolution"
    assert gpu_trace.kind("llama-7b-qlora-ckpt") == "quantized or diffusion"
    assert gpu_trace.kind("llama-7b-lora-ckpt") == "transformer"
    assert set(map(gpu_trace.kind, gpu_collect.CASES)) <= set(gpu_trace.BARS)


@pytest.mark.slow
def test_a_case_that_makes_its_own_4bit_parameters_is_traced(made):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("peft")
    traced = gpu_trace.trace_case("llama-7b-qlora-ckpt", (9, 0), 132)  # tiny, as `made` has set
    assert any("quantize_4bit" in operator for _, _, operator in traced.events.names)
    assert [p["phase"] for p in gpu_trace.phases(traced)][:3] == ["bf16 weights", "build", "forward0"]
