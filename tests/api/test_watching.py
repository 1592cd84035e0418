"""watch as a function: live on this machine, and from recordings."""

import json
from pathlib import Path

import pytest

from onecard.api import watching
from onecard.core import places
from onecard.core.errors import BadFile, UnknownName

TRACE = Path(__file__).parent.parent / "fixtures" / "traces" / "finetune_on_12gb.jsonl"


def test_the_peak_of_a_replay_is_the_largest_moment_of_the_trace():
    written = [json.loads(line) for line in TRACE.read_text().splitlines()]
    played = list(watching.replay(TRACE))
    assert len(played) == len(written)
    assert max(m.readings[0].memory_used for m in played) == max(m["readings"][0]["memory_used"] for m in written)
    assert played[-1].run.outcome == "ok"


def test_a_cut_off_recording_plays_as_far_as_it_goes(tmp_path):
    lines = TRACE.read_text().splitlines()
    (tmp_path / "cut.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:100])
    assert len(list(watching.replay(tmp_path / "cut.jsonl"))) == 5


@pytest.mark.parametrize("content", ["", "garbage\n", '{"event": "begin"}\n', "{}\n"])
def test_a_file_without_moments_is_a_clear_error(tmp_path, content):
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(BadFile):
        list(watching.replay(tmp_path / "t.jsonl"))


def test_a_missing_file():
    with pytest.raises(BadFile):
        list(watching.replay("/no/such/trace.jsonl"))


def test_live_moments_are_counted():
    found = list(watching.watch(0.05, count=2))
    assert len(found) == 2 and found[1].time > found[0].time and found[0].readings[-1].kind == "cpu"
    assert found[0].run is None


def test_a_run_by_the_beginning_of_its_id():
    for name in ("abc123", "abd456"):
        folder = places.runs() / name
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_text(
            json.dumps({"event": "begin", "id": name, "plan": {"workload": "chat"}}) + "\n"
        )
    (moment,) = watching.watch(0.05, count=1, run="abc")
    assert moment.run.id == "abc123" and moment.run.workload == "chat"
    for wrong in ("ab", "zzz"):
        with pytest.raises(UnknownName):
            next(iter(watching.watch(0.05, count=1, run=wrong)))
