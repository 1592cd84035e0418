"""Starts the child process of a trace and contains it: time, output, processes, files.

The child is the user's own program on fake tensors. It reads an empty stdin; its output is read and all but the end of it
dropped; it may take its time limit and a little more; whatever processes it started end with it; what it writes lands
in a folder that is deleted (files.py).
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

import msgspec

from onecard.core.errors import OnecardError
from onecard.tracing.job import Job, Result

GRACE = 20.0
"""seconds beyond the limit: imports, and the end of a program that was asked to stop"""
MARK = "ONECARD_TRACE_FOLDER"
"""environment variable that every process of a trace inherits"""
KEPT = 16384
"""bytes of output that are remembered"""


def run_job(job: Job) -> Result:
    """The Result of a child. Raises OnecardError where the program has none."""
    result_file = Path(job.scratch) / "result.json"
    job_file = Path(job.scratch) / "job.json"
    job_file.write_bytes(msgspec.json.encode(job))
    source = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH", "")) if p)
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "onecard.tracing.child", str(job_file), str(result_file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(job.target.file).parent,
        env={
            **os.environ,
            MARK: job.scratch,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
        start_new_session=True,
    )
    tail = _Tail(child.stdout)
    try:
        child.wait(job.limit + GRACE)
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
    finally:
        end_family(child)
        end_marked(job.scratch)
        tail.close()
    if result_file.exists():
        return _checked(msgspec.json.decode(result_file.read_bytes(), type=Result), tail.text())
    name = Path(job.target.file).name
    if hung:
        raise OnecardError(
            f"{name} did not come to an end in {job.limit:.0f} s",
            why=f"it does not react to being stopped; its last words: {tail.last()}",
            next="a longer limit (--limit), or trace one step of it: onecard trace FILE.py:build",
        )
    code = child.returncode
    how = f"ended its process (exit code {code})" if code >= 0 else f"crashed (signal {-code}, {_signal(-code)})"
    raise OnecardError(
        f"{name} {how} before the trace had an answer",
        why=f"its last words: {tail.last()}",
        next="trace a function that builds the step and does not exit: onecard trace FILE.py:build",
    )


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one trace, deleted with all that the program wrote."""
    return tempfile.TemporaryDirectory(prefix="onecard-trace-", ignore_cleanup_errors=True)


def _checked(result: Result, said: str) -> Result:
    if result.problem is not None:
        problem = result.problem
        raise OnecardError(problem.what, why=problem.why, next=problem.next)
    return result


def end_family(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and every process that it started."""
    import contextlib

    import psutil

    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(child.pid)
        family = [*parent.children(recursive=True), parent]
    if hasattr(os, "killpg"):
        import signal

        # the child leads a session of its own, so this reaches grandchildren whose parent is gone, and nobody else
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(5)


def _signal(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def end_marked(scratch: str) -> None:
    """Ends what has left the family: processes that lead a session of their own and have lost their parent. They are
    known by the environment that they inherited."""
    import contextlib

    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == scratch:
                process.kill()


class _Tail:
    """Reads a pipe to its end and remembers the last bytes."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        descriptor = self._pipe.fileno()
        while piece := os.read(descriptor, 65536):
            self._pieces.append(piece)
            self._size += len(piece)
            while self._size - len(self._pieces[0]) >= KEPT:
                self._size -= len(self._pieces.popleft())

    def close(self) -> None:
        self._thread.join(5)
        self._pipe.close()

    def text(self) -> str:
        return b"".join(self._pieces)[-KEPT:].decode("utf-8", "replace")

    def last(self) -> str:
        """The last line that says something; of a crash, what Python's fault handler calls it."""
        lines: list[Any] = [line.strip() for line in self.text().splitlines() if line.strip()]
        lines = [line for line in lines if line.startswith("Fatal Python error")] or lines
        return str(lines[-1])[:300] if lines else "none"
