"""Golden recordings of real processes: every address, every segment, the peak."""

import gzip
import json
from pathlib import Path

import pytest

from onecard.core.errors import BadFile
from onecard.core.units import MiB
from onecard.predict.recordings import peaks, read, replay

FOLDER = Path(__file__).parents[2] / "benchmarks" / "recordings"
FILES = sorted(FOLDER.glob("*.json.gz"))


def test_the_recordings_are_there():
    assert len(FILES) == 9


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_every_block_lies_where_the_process_had_it(path):
    result = replay(read(path))
    assert result.allocations > 0
    assert result.same_address == result.allocations
    assert (result.same_segments, result.extra_segments) == (result.segments, 0)
    assert result.peak_reserved == result.recorded_peak_reserved
    assert result.exact


def test_a_wrong_rule_is_noticed():
    """The comparison can fail: a segment of another size is not the model's."""
    recording = read(FOLDER / "linear-10000x50000-grad.json.gz")
    events = [(a, s + 2 * MiB if a == "segment_alloc" else s, ad, st) for a, s, ad, st in recording.events]
    assert not replay(type(recording)(events, recording.segments_at_end)).exact


def test_peaks_by_hand(tmp_path):
    """Two requests overlap; the first of them lived before the recording began."""
    path = tmp_path / "r.json.gz"
    events = [["alloc", 300, 1000, 0], ["free_requested", 500, 0, 0], ["free_completed", 500, 0, 0]]
    blocks = [["inactive", 512, 500], ["active_allocated", 512, 300], ["inactive", 2 * MiB - 1024, 0]]
    segments = [{"address": 0, "total_size": 2 * MiB, "stream": 0, "blocks": blocks}]
    path.write_bytes(gzip.compress(json.dumps({"events": events, "segments_at_end": segments}).encode()))
    assert peaks(read(path)) == (500, 800, 300)


def test_a_truncated_file_is_explained(tmp_path):
    path = tmp_path / "cut.json.gz"
    path.write_bytes(FILES[0].read_bytes()[:100])
    with pytest.raises(BadFile):
        read(path)
