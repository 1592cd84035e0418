"""A child tells everything, cannot be spoilt by what libraries print, and ends well or badly without taking us down."""

import os
import signal
import subprocess
import sys
import threading

import msgspec
import psutil
import pytest

from onecard.execute.inline import run_inline
from onecard.execute.launch import launch
from onecard.store.journal import read, record_of

MiB = 1024**2


def names(journal):
    return [e["event"] for e in read(journal.path)]


def test_events_reach_the_journal_and_the_caller_alike(make_job):
    job, journal = make_job(size=64 * MiB)
    seen = []
    ending = launch(job, journal, seen.append)
    assert ending.outcome == "ok" and ending.quality == {"bytes": 64 * MiB}
    assert [e["event"] for e in seen] == ["started", "ready", "phase", "phase_end", "measured", "result"]
    written = [e for e in read(journal.path) if e["event"] not in ("begin", "sample")]
    assert written == seen


def test_peak_is_what_the_phase_touched_beyond_the_libraries(make_job):
    job, journal = make_job(size=200 * MiB)
    launch(job, journal)
    peak = next(m for m in record_of(journal.path).measurements if m.name == "memory.peak")
    assert peak.measured == pytest.approx(200 * MiB, rel=0.02)


@pytest.mark.slow
def test_inline_tells_the_same_as_a_child(make_job):
    job, journal = make_job(size=MiB)
    seen = []
    ending = run_inline(job, journal, seen.append)
    assert ending.outcome == "ok"
    assert [e["event"] for e in seen] == ["ready", "phase", "phase_end", "measured", "result"]


def test_library_prints_go_to_the_log(make_job):
    job, journal = make_job("noisy")
    assert launch(job, journal).outcome == "ok"
    log = (journal.path.parent / "log.txt").read_bytes()
    assert b"a library prints" in log and b"with { no end of line" in log
    assert {"started", "ready", "result"} <= set(names(journal))


def test_what_a_callback_returns_is_sent_to_the_child(make_job):
    job, journal = make_job("wait")
    said = []

    def talk(event):
        if event["event"] != "text":
            return None
        said.append(event["text"])
        return {"say": 'a "stop" in a sentence'} if len(said) == 1 else {"stop": True}

    ending = launch(job, journal, talk)
    assert said == ["waiting", 'a "stop" in a sentence']
    assert ending.outcome == "stopped" and ending.quality == {"saved": True}


def test_a_mistake_of_the_user_arrives_with_its_three_lines(make_job):
    job, journal = make_job("mistake")
    ending = launch(job, journal)
    assert ending.outcome == "failed"
    assert ending.error == "the data file is empty\nwhy: it has 0 lines\nnext: give another --data"


def test_a_bug_leaves_its_traceback_in_the_log_and_its_last_line_in_the_record(make_job):
    job, journal = make_job("bug")
    ending = launch(job, journal)
    assert ending.outcome == "failed" and ending.what == "ZeroDivisionError: division by zero"
    assert "line" in (journal.path.parent / "log.txt").read_text()


def test_an_allocator_that_gives_up_is_out_of_memory(make_job):
    job, journal = make_job("memory")
    assert launch(job, journal).outcome == "oom"


def test_budget_on_the_cpu_stops_the_child(make_job):
    job, journal = make_job(size=400 * MiB, budget=100 * MiB)
    ending = launch(job, journal)
    assert ending.outcome == "oom" and "budget of 100 MiB" in ending.what
    budget = next(e for e in read(journal.path) if e["event"] == "budget")
    assert budget["how"] == "watcher" and budget["bytes"] == 100 * MiB


def test_a_run_within_its_budget_is_left_alone(make_job):
    job, journal = make_job(size=50 * MiB, budget=100 * MiB)
    assert launch(job, journal).outcome == "ok"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_kill_9_of_the_child_loses_nothing_that_was_told(make_job):
    job, journal = make_job("kill")
    ending = launch(job, journal)
    assert ending.outcome in ("failed", "oom") and "killed" in ending.what
    record = record_of(journal.path)
    assert [m.measured for m in record.measurements if m.name == "load_tokens_per_s"] == [7.0]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_crash_of_a_library_is_named(make_job):
    job, journal = make_job("crash")
    ending = launch(job, journal)
    assert ending.outcome == "failed" and ending.why == "SIGABRT"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigint_lets_the_child_save(make_job):
    job, journal = make_job("wait")

    def interrupt(event):
        if event["event"] == "text":
            child = next(e["pid"] for e in read(journal.path) if e["event"] == "started")
            os.kill(child, signal.SIGINT)

    ending = launch(job, journal, interrupt)
    assert ending.outcome == "stopped" and (journal.path.parent / "saved").exists()


def test_first_ctrl_c_saves(make_job):
    job, journal = make_job("wait")

    def interrupt(event):
        if event["event"] == "text":
            raise KeyboardInterrupt

    assert launch(job, journal, interrupt).outcome == "stopped"
    assert (journal.path.parent / "saved").exists()


def test_second_ctrl_c_kills(make_job):
    job, journal = make_job("deaf")
    pressed = []

    def interrupt(event):
        if event["event"] == "text":
            pressed.append(threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)))
            pressed[0].start()
            raise KeyboardInterrupt

    ending = launch(job, journal, interrupt)
    assert ending.outcome == "stopped" and "without saving" in ending.what


def test_a_full_disk_ends_the_run_with_its_reason(make_job, monkeypatch):
    job, journal = make_job("wait")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_line", full)
    ending = launch(job, journal)
    assert ending.outcome == "failed" and "cannot be written" in ending.what and "No space left" in ending.why


def test_time_limit_asks_the_child_to_save(make_job):
    job, journal = make_job("wait")
    assert launch(job, journal, seconds=0.1).outcome == "stopped"
    assert (journal.path.parent / "saved").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_kill_9_of_the_parent_lets_the_child_save_and_loses_nothing(make_job, tmp_path):
    job, journal = make_job("wait")
    journal.close()
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, msgspec\n"
            "from onecard.execute.job import Job\nfrom onecard.execute.journal import Journal\n"
            "from onecard.execute.launch import launch\n"
            "job = msgspec.json.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=Job)\n"
            "launch(job, Journal(pathlib.Path(job.folder)), lambda e: print(e['event'], flush=True) )",
            str(tmp_path / "job.json"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    for line in parent.stdout:
        if line.strip() == "text":
            break
    child = psutil.Process(next(e["pid"] for e in read(journal.path) if e["event"] == "started"))
    parent.kill()
    parent.communicate()
    assert child.wait(timeout=20) in (0, None)
    record = record_of(journal.path)
    assert record.outcome == "stopped" and record.quality == {"saved": True}
    assert (journal.path.parent / "saved").exists()


def test_a_killed_training_says_from_which_step_it_goes_on(tmp_path):
    from onecard.engines import checkpoint
    from onecard.execute.killed import killed_ending

    torch = pytest.importorskip("torch")
    assert "resume" not in killed_ending(-9, 0, tmp_path).next
    checkpoint.save(tmp_path, 40, {"w": torch.zeros(3)}, {}, {})
    assert f"onecard resume {tmp_path.name} goes on from step 40" in killed_ending(-9, 0, tmp_path).next
