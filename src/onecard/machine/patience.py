"""Asking things that may hang, be missing or talk nonsense: every question has a deadline and none raises.

A driver in a bad state blocks its callers for ever; a wrapper on PATH may print without end. So library calls run in a
daemon thread that is abandoned when it is late, and programs are read up to a limit and then killed with their children.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    import subprocess

T = TypeVar("T")

LONGEST_ANSWER = 1 << 20

_running: "set[subprocess.Popen[bytes]]" = set()
"""programs that were asked and have not ended: whoever gives up waiting for an answer must not leave them behind"""


class Answer(NamedTuple):
    """What a program said. code None: it was killed, because it was late or would not stop talking."""

    code: int | None
    text: str


def within(seconds: float, function: Callable[[], T], otherwise: T) -> T:
    """function(), or `otherwise` when it raises or takes longer. A late call is abandoned, not stopped."""
    found: list[T] = []

    def call() -> None:
        with suppress(Exception):
            found.append(function())

    thread = threading.Thread(target=call, daemon=True, name="onecard-question")
    thread.start()
    thread.join(seconds)
    return found[0] if found else otherwise


def together(seconds: float, questions: dict[str, Callable[[], T | None]]) -> dict[str, T | None]:
    """All questions at once with one deadline; the late and the failed are None."""
    found: dict[str, T | None] = {}

    def call(name: str, question: Callable[[], T | None]) -> None:
        with suppress(Exception):
            found[name] = question()

    threads = [threading.Thread(target=call, args=item, daemon=True) for item in questions.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    answered = dict(found)  # a late thread may still write into `found`
    return {name: answered.get(name) for name in questions}


def ask(command: Sequence[str], seconds: float = 2.0) -> Answer | None:
    """Run a program and read what it prints (both streams, at most 1 MiB). None: it is not there or cannot be started."""
    import shutil  # these two cost 3 ms, and plan never asks a program
    import subprocess

    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        return None
    _running.add(process)
    said: list[bytes] = []

    def listen() -> None:
        assert process.stdout is not None
        size = 0
        with suppress(OSError, ValueError), process.stdout as pipe:
            while size < LONGEST_ANSWER and (piece := os.read(pipe.fileno(), 65536)):
                said.append(piece)
                size += len(piece)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    listener.join(seconds)
    code: int | None = None
    if not listener.is_alive():
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(1.0)
    _end(process)
    _running.discard(process)
    listener.join(1.0)  # the pipe ends with the program, unless a stray grandchild holds it
    return Answer(code, b"".join(said)[:LONGEST_ANSWER].decode("utf-8", "replace"))


@atexit.register
def _end_all() -> None:
    """A question in an abandoned thread may still be open when this process ends."""
    for process in tuple(_running):
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and what it started; nothing is left behind."""
    import subprocess

    if process.poll() is None:
        with suppress(OSError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
