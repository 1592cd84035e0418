"""The accuracy script: its tables hold on the committed recordings, and a missed bar is told by its exit code."""

import gzip
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import trace_accuracy


def test_recordings_hold(capsys):
    assert trace_accuracy.main(["--only", "recordings", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["recordings"]["facts"]
    assert len(facts) == 9
    assert all(f["exact"] for f in facts)


def test_a_recording_that_differs_misses_the_bar(tmp_path, capsys):
    source = json.loads(gzip.decompress((BENCHMARKS / "recordings" / "linear-10000x50000-grad.json.gz").read_bytes()))
    event = next(e for e in source["events"] if e[0] == "segment_alloc")
    event[1] += 2 << 20
    (tmp_path / "changed.json").write_text(json.dumps(source))
    assert trace_accuracy.main(["--only", "recordings", "--recordings", str(tmp_path)]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_folder_without_recordings_proves_nothing(tmp_path):
    assert trace_accuracy.main(["--only", "recordings", "--recordings", str(tmp_path)]) == 1


@pytest.mark.slow
def test_the_traced_transformer_meets_its_recorded_peaks(capsys):
    pytest.importorskip("torch")
    assert trace_accuracy.main(["--only", "transformer", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["transformer"]["facts"]
    assert len(facts) == 6
    fresh = [f for f in facts if f["reserved_error"] is not None]
    assert len(fresh) == 2
    assert all(abs(f["reserved_error"]) < 0.0005 for f in fresh)  # exact but for scratch of sorted indices
