"""A Record is what the journal says, however far the journal goes."""

import json
import os

import pytest

from onecard.core.errors import BadFile
from onecard.store.journal import orphans, record_of

GiB = 1024**3

PLAN = {
    "id": "p1",
    "workload": "chat",
    "settings": {},
    "device": {"name": "this CPU", "kind": "cpu"},
    "verdict": "fits",
    "estimate": {
        "memory": {
            "peak_bytes": [1.9 * GiB, 2 * GiB, 2.1 * GiB],
            "phase": "decode",
            "parts": {"weights": [1.5 * GiB] * 3, "kv_cache": [0.5 * GiB] * 3, "gradients": [0, 0, 0]},
            "usable_bytes": 8 * GiB,
        },
        "time": {},
        "total_seconds": [1, 2, 3],
        "rates": {"decode_tokens_per_s": [9, 10, 11]},
        "limiters": {},
        "basis": "counted",
    },
}
BEGIN = {
    "event": "begin",
    "id": "abc",
    "kind": "prove",
    "plan": PLAN,
    "requested": {"context": 0},
    "started": "2026-01-01T00:00:00+00:00",
    "pid": 2**22 + 1,
}
READY = {"event": "ready", "t": 0.5, "rss": 100, "threads": 2}
LOAD = {"event": "phase_end", "t": 1.0, "name": "load", "seconds": 0.4, "peak": {"rss": 100 + 1 * GiB}}
DECODE = {"event": "phase_end", "t": 2.0, "name": "decode", "seconds": 0.9, "peak": {"rss": 100 + 2 * GiB}}
RATE = {"event": "measured", "t": 2.0, "name": "decode_tokens_per_s", "value": 12.5, "unit": "tokens/s"}
END = {"event": "end", "t": 3.0, "outcome": "ok", "seconds": 3.0}


def write(folder, *events, tail=""):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in events) + tail)
    return path


def by_name(record):
    return {m.name: m for m in record.measurements}


def test_promises_stand_beside_what_was_observed(tmp_path):
    record = record_of(write(tmp_path, BEGIN, READY, LOAD, DECODE, RATE, END))
    found = by_name(record)
    assert found["memory.peak"].measured == 2 * GiB and found["memory.peak"].error == 0
    assert found["decode_tokens_per_s"].error == pytest.approx(10 / 12.5 - 1)
    assert found["memory.weights"].measured is None and found["memory.weights"].note == "not observed"
    assert "memory.gradients" not in found, "a part that is promised to be nothing needs no line"
    assert (record.outcome, record.seconds) == ("ok", 3.0)


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    record = record_of(write(tmp_path, BEGIN, READY, LOAD, tail='{"event": "phase_e'))
    assert record.outcome == "failed" and "killed together" in record.error
    assert by_name(record)["memory.peak"].measured == 1 * GiB


def test_the_childs_word_counts_where_the_parent_has_none(tmp_path):
    result = {"event": "result", "t": 2.5, "outcome": "stopped", "quality": {"step": 7}}
    record = record_of(write(tmp_path, BEGIN, READY, LOAD, result))
    assert record.outcome == "stopped" and record.quality == {"step": 7} and record.seconds == 2.5


def test_on_a_gpu_the_peak_is_context_and_reserved_and_each_kind_has_its_name(tmp_path):
    begin = BEGIN | {"plan": PLAN | {"device": {"name": "card", "kind": "cuda"}}}
    step = DECODE | {"peak": {"rss": 3 * GiB, "allocated": 1 * GiB, "reserved": 1.5 * GiB}}
    sample = {"event": "sample", "t": 1.5, "values": {"driver": 1.8 * GiB, "rss": 3 * GiB}}
    found = by_name(record_of(write(tmp_path, begin, READY | {"context": GiB // 4}, sample, step, END)))
    assert found["memory.peak"].measured == 1.75 * GiB
    assert found["memory.allocated"].measured == 1 * GiB and found["memory.reserved"].measured == 1.5 * GiB
    assert found["memory.driver"].measured == 1.8 * GiB and "memory.rss" in found


def test_each_sample_keeps_its_own_clock(tmp_path):
    first = {"event": "sample", "t": 0.1, "values": {"rss": 1, "power": 100.0}}
    second = {"event": "sample", "t": 0.2, "values": {"rss": 2}}
    samples = record_of(write(tmp_path, BEGIN, first, second, END)).samples
    assert samples == {"rss": [1, 2], "rss_t": [0.1, 0.2], "power": [100.0], "power_t": [0.1]}


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    with pytest.raises(BadFile, match="no journal"):
        record_of(write(tmp_path, READY))
    with pytest.raises(BadFile, match="cannot be read"):
        record_of(tmp_path / "nothing.jsonl")


def test_orphans_are_the_runs_whose_processes_are_gone(tmp_path):
    dead = write(tmp_path / "dead", BEGIN, READY)
    write(tmp_path / "known", BEGIN, END)
    write(tmp_path / "alive", BEGIN | {"pid": os.getpid(), "started": "2099-01-01T00:00:00+00:00"})
    write(tmp_path / "reused", BEGIN | {"pid": os.getpid(), "started": "1999-01-01T00:00:00+00:00"})
    found = orphans(tmp_path, {"known"})
    assert found == [dead, tmp_path / "reused" / "journal.jsonl"]
