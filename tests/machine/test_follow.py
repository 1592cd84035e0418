"""Following a run's journal: while it grows, when it is cut off, and afterwards."""

import json
import os

from onecard.machine.follow import Follower, latest, moments

PLAN = {"workload": "finetune", "device": {"name": "GeForce RTX 4070 Ti", "kind": "cuda", "memory_total": 12 * 1024**3},
        "estimate": {"memory": {"peak_bytes": [9e9, 1e10, 1.1e10]}, "rates": {"train_tokens_per_s": [900, 1000, 1200]}}}  # fmt: skip
BEGIN = {
    "event": "begin",
    "id": "abc",
    "kind": "run",
    "plan": PLAN,
    "started": "2026-11-24T00:00:00+00:00",
    "pid": None,
}


def write(folder, *events, tail=""):
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.jsonl"
    with journal.open("a") as file:
        for event in events:
            file.write(json.dumps(event) + "\n")
        file.write(tail)
    return journal


def test_plan_against_reality(tmp_path):
    follower = Follower(write(tmp_path / "abc", BEGIN, {"event": "phase", "t": 1.0, "name": "train"}))
    state = follower.look()
    assert state.workload == "finetune" and state.phase == "train" and state.peak is None
    assert state.planned_peak == (9e9, 1e10, 1.1e10) and state.planned_rates == {
        "train_tokens_per_s": (900, 1000, 1200)
    }
    write(tmp_path / "abc", {"event": "sample", "t": 2.0, "values": {"driver": 9.5e9, "rss": 3e9}},
          {"event": "progress", "t": 3.0, "done": 5, "of": 50, "unit": "steps", "shown": {"loss": 2.5}},
          {"event": "sample", "t": 4.0, "values": {"driver": 9.1e9}},
          {"event": "measured", "t": 5.0, "name": "train_tokens_per_s", "value": 950, "unit": "tok/s"})  # fmt: skip
    state = follower.look()
    assert state.peak == 9.5e9 and (state.done, state.of) == (5, 50) and state.shown == {"loss": 2.5}
    assert state.measured == {"train_tokens_per_s": 950} and state.seconds == 5.0 and not state.outcome
    write(tmp_path / "abc", {"event": "end", "t": 9.0, "outcome": "ok"})
    assert follower.look().outcome == "ok"


def test_a_half_written_line_waits_for_its_rest(tmp_path):
    journal = write(tmp_path / "abc", BEGIN, tail='{"event": "phase", "t": 1.0, "na')
    follower = Follower(journal)
    assert follower.look().phase == ""
    with journal.open("a") as file:
        file.write('me": "load"}\n')
    assert follower.look().phase == "load"


def test_lines_that_make_no_sense_are_skipped(tmp_path):
    journal = write(
        tmp_path / "abc",
        tail='garbage\n[1]\n{"event": "progress", "done": "x", "shown": 7}\n{"event": "begin", "plan": 3}\n',
    )
    write(tmp_path / "abc", {"event": "sample", "values": None}, {"event": "phase_end", "peak": "much"})
    assert Follower(journal).look().peak is None
    assert Follower(tmp_path / "none" / "journal.jsonl").look().id == "none"


def test_the_three_counts_of_memory_are_kept_apart(tmp_path):
    ends = [{"event": "phase_end", "peak": {"allocated": a, "reserved": 2 * a, "driver": 3 * a}} for a in (2e9, 1e9)]
    state = Follower(write(tmp_path / "abc", BEGIN, *ends)).look()
    assert state.peaks == {"allocated": 2e9, "reserved": 4e9, "driver": 6e9} and state.peak == 6e9


def test_on_the_cpu_libraries_do_not_count_as_the_runs_own_memory(tmp_path):
    begin = {**BEGIN, "plan": {**PLAN, "device": {"name": "cpu", "kind": "cpu"}}}
    journal = write(
        tmp_path / "abc", begin, {"event": "ready", "rss": 5e8}, {"event": "sample", "values": {"rss": 2e9}}
    )
    assert Follower(journal).look().peak == 1.5e9


def test_the_run_under_way_is_the_newest_without_an_end_and_with_a_living_process(tmp_path):
    assert latest(tmp_path) is None
    write(tmp_path / "ended", BEGIN, {"event": "end", "outcome": "ok"})
    write(tmp_path / "dead", {**BEGIN, "pid": 2**22 + 1})  # above the largest process number of Linux
    assert latest(tmp_path) is None
    alive = write(tmp_path / "alive", {**BEGIN, "pid": os.getpid()})
    assert latest(tmp_path) == alive


def test_a_journal_replays_its_samples_and_its_peak_is_the_largest_of_them(tmp_path):
    samples = [{"event": "sample", "t": float(i), "values": {"device_used": 1e9 * u, "driver": 9e8 * u, "utilisation": 50, "throttle": 4}}
               for i, u in enumerate((1, 5, 9, 4))]  # fmt: skip
    journal = write(tmp_path / "abc", BEGIN, *samples, {"event": "end", "t": 5.0, "outcome": "ok"})
    found = list(moments(journal))
    assert [m.readings[0].memory_used for m in found[:4]] == [1e9, 5e9, 9e9, 4e9]
    assert found[0].readings[0].utilization == 0.5 and found[0].readings[0].throttle == ("power cap",)
    assert found[-1].run.outcome == "ok" and found[-1].run.peak == 8.1e9
    assert found[1].time - found[0].time == 1.0


def test_memory_of_the_libraries_before_they_were_all_imported_is_no_peak_of_the_run(tmp_path):
    begin = {**BEGIN, "plan": {**PLAN, "device": {"name": "cpu", "kind": "cpu"}}}
    journal = write(tmp_path / "abc", begin, {"event": "ready", "rss": 2e7}, {"event": "sample", "values": {"rss": 2.4e8}},
                    {"event": "ready", "rss": 2.4e8}, {"event": "sample", "values": {"rss": 2.9e8}})  # fmt: skip
    assert Follower(journal).look().peak == 5e7


def test_where_the_driver_does_not_count_the_context_is_added_to_what_torch_reserved(tmp_path):
    journal = write(tmp_path / "abc", BEGIN, {"event": "ready", "rss": 1e9, "context": 3e8},
                    {"event": "phase_end", "peak": {"allocated": 1e9, "reserved": 2e9, "rss": 4e9}})  # fmt: skip
    assert Follower(journal).look().peak == 2.3e9


def test_a_run_whose_process_is_gone_has_ended(tmp_path):
    dead = {**BEGIN, "pid": 2**22 + 1}  # above the largest process number of Linux
    assert (
        Follower(write(tmp_path / "a", dead, {"event": "phase", "t": 1.0, "name": "save"})).look().outcome == "failed"
    )
    stopped = Follower(write(tmp_path / "b", dead, {"event": "result", "t": 2.0, "outcome": "stopped"}))
    assert stopped.look().outcome == "stopped"
    alive = Follower(
        write(tmp_path / "c", {**BEGIN, "pid": os.getpid()}, {"event": "result", "t": 2.0, "outcome": "oom"})
    )
    assert alive.look().outcome == ""
