"""Starts a child for a Job and stays with it: journal, callbacks, samples, budget, time limit, Ctrl-C.

One thread reads the child's lines and appends each to the journal at once; the calling thread takes them from a queue
and shows them, so that a slow callback (somebody is typing in a chat) holds up nothing. The first Ctrl-C asks the
child to save and stop, the second kills it.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.units import show_seconds, show_size
from onecard.execute.job import Job
from onecard.execute.journal import Journal
from onecard.execute.killed import kernel_kills, killed_ending
from onecard.execute.outcome import Ending
from onecard.machine.sampler import Sample, Sampler

OnEvent = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Gets every event; what it returns, if anything, is sent to the child as a command: {"say": "..."}"""

_GRACE = 120.0
"""seconds that a child may take to save after it was asked to stop because its time was up"""


class _Child:
    """The process, its reader thread and what the parent decided about it."""

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job, self.journal = job, journal
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.base: float | None = None
        self.verdict: Ending | None = None
        self.asked_to_stop = False
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(job.threads),
            "MKL_NUM_THREADS": str(job.threads),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "TOKENIZERS_PARALLELISM": "false",
        }
        # Ctrl-C in a terminal goes to the whole process group; the child must hear of it from us alone.
        apart: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "onecard.execute.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                **apart,
            )
        self.tell_line(msgspec.json.encode(job))
        self.reader = threading.Thread(target=self._read, daemon=True, name="onecard-reader")
        self.reader.start()

    def tell_line(self, line: bytes) -> None:
        """Send a line to the child; a child that is already gone needs no telling."""
        with suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """First: save and stop. Again: kill."""
        if self.asked_to_stop:
            self.kill(Ending(outcome="stopped", what="stopped at once, without saving"))
        self.asked_to_stop = True
        self.tell_line(b'{"stop": true}')

    def kill(self, verdict: Ending) -> None:
        """End the child now; the verdict is what the Record will say."""
        if self.verdict is None:
            self.verdict = verdict
        self.end()

    def end(self) -> None:
        """Kill the process, and with it what it started (data loaders, a ballast): it leads a group of its own."""
        if os.name == "nt":
            self.process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _read(self) -> None:
        try:
            self._read_lines()
        except OSError as error:
            self.kill(
                Ending(
                    outcome="failed",
                    what=f"the journal {self.journal.path} cannot be written",
                    why=error.strerror or str(error),
                    next="free disk space; what the run saved itself is kept",
                    exit_code=2,
                )
            )
        finally:
            self.lines.put(None)

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.journal.write_line(line)
            try:
                event = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # half a line: the child was killed while it wrote
            if event["event"] == "ready":
                self.base = float(event["rss"])
            elif event["event"] == "phase_end":
                self._check_budget(event["peak"].get("rss", 0))
            self.lines.put(event)

    def sampled(self, sample: Sample) -> None:
        """A sample goes to the journal; on the CPU it is held against the budget."""
        with suppress(OSError):  # a full disk is told by the reader
            self.journal.write({"event": "sample", "t": round(time.time() - self.job.started, 4), "values": sample})
        self._check_budget(sample.get("rss", 0))

    def _check_budget(self, rss: float) -> None:
        if self.job.budget is None or self.job.device != "cpu" or self.base is None:
            return
        if rss - self.base > self.job.budget:
            self.kill(
                Ending(
                    outcome="oom",
                    what=f"the run needed more than its budget of {show_size(self.job.budget)}",
                    why=f"its memory reached {show_size(rss - self.base)} beyond its libraries",
                    exit_code=1,
                )
            )


def launch(
    job: Job,
    journal: Journal,
    on_event: OnEvent | None = None,
    *,
    seconds: float | None = None,
    stop: threading.Event | None = None,
) -> Ending:
    """Run the job in a child until it ends, one way or another; never raises for what happens inside the child.

    seconds: time limit, after which the child is asked to save and stop. stop: for a caller that is no terminal.
    """
    before = kernel_kills()
    child = _Child(job, journal)
    result: Ending | None = None
    start = time.monotonic()
    ordinal = int(job.device.partition(":")[2] or 0) if job.device.startswith("cuda") else None
    try:
        with Sampler(child.process.pid, child.sampled, ordinal=ordinal):
            while True:
                try:
                    _limits(child, start, seconds, stop)
                    try:
                        event = child.lines.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    if event is None:
                        break
                    if event["event"] == "result":
                        result = msgspec.convert({k: v for k, v in event.items() if k not in ("event", "t")}, Ending)
                    command = on_event(event) if on_event is not None else None
                    if command is not None:
                        child.tell_line(msgspec.json.encode(command))
                except KeyboardInterrupt:
                    child.stop()
        code = child.process.wait()
    finally:
        _end(child)
    if child.verdict is not None:
        return child.verdict
    return result if result is not None else killed_ending(code, kernel_kills() - before, Path(job.folder))


def _limits(child: _Child, start: float, seconds: float | None, stop: threading.Event | None) -> None:
    elapsed = time.monotonic() - start
    if stop is not None and stop.is_set() and not child.asked_to_stop:
        child.stop()
    if seconds is None:
        return
    if elapsed > seconds and not child.asked_to_stop:
        child.stop()
    if elapsed > seconds + _GRACE:
        child.kill(Ending(outcome="stopped", what=f"its time of {show_seconds(seconds)} was up and it did not save"))


def _end(child: _Child) -> None:
    """Whatever happened, leave no process and no open pipe behind."""
    child.end()
    child.process.wait()
    child.reader.join(timeout=5)
    for pipe in (child.process.stdin, child.process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()
