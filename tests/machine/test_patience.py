"""Asking programs and libraries that hang, babble, fail or are not there."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onecard.machine.patience import LONGEST_ANSWER, ask, together, within


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a shell script of a name on PATH, before all others."""
    if os.name != "posix":
        pytest.skip("shell scripts")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    return make


def test_an_answer_has_both_streams_and_the_exit_code(program):
    program("speaker", "echo out; echo err >&2; exit 3")
    answer = ask(["speaker"], 5)
    assert answer.code == 3 and "out" in answer.text and "err" in answer.text


def test_a_missing_program_is_none():
    assert ask(["no-such-program-here"], 1) is None


def test_a_hanging_program_is_killed_with_its_children_and_what_it_said_is_kept(program, tmp_path):
    program("hanger", f"echo began; sleep 600 & echo $! > {tmp_path}/child; wait")
    answer = ask(["hanger"], 0.5)
    assert answer.code is None and "began" in answer.text
    child = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        for _ in range(200):  # the kernel needs a moment to bury a killed process
            os.kill(child, 0)
            if _is_zombie(child):
                raise ProcessLookupError


def _is_zombie(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_endless_garbage_is_cut_off(program):
    program("babbler", "while :; do head -c 65536 /dev/urandom; done")
    answer = ask(["babbler"], 3)
    assert answer is not None and answer.code != 0
    assert 0 < len(answer.text) <= LONGEST_ANSWER


def test_a_file_that_is_no_program_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "broken").write_bytes(b"\x7fELFgarbage")
    (tmp_path / "broken").chmod(0o755)
    assert ask(["broken"], 1) is None


def test_a_call_that_hangs_or_raises_gives_the_other_value():
    assert within(0.05, threading.Event().wait, "late") == "late"
    assert within(5, lambda: 1 // 0, "raised") == "raised"
    assert within(5, lambda: "in time", "late") == "in time"


def test_questions_asked_together_do_not_wait_for_each_other():
    never = threading.Event()
    told = together(0.3, {"hangs": never.wait, "raises": lambda: [][0], "answers": lambda: 42})
    assert told == {"hangs": None, "raises": None, "answers": 42}


@pytest.mark.slow
def test_nothing_is_left_behind_when_the_process_ends_while_a_program_still_hangs(program, tmp_path):
    program("sleeper", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    code = (
        "import sys; from onecard.machine.patience import ask, together\n"
        "together(1.0, {'late': lambda: ask(['sleeper'], 600)})"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with pytest.raises(ProcessLookupError):
        for _ in range(2000):
            os.kill(int((tmp_path / "pid").read_text()), 0)
            if _is_zombie(int((tmp_path / "pid").read_text())):
                raise ProcessLookupError
