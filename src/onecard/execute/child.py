"""`python -m onecard.execute.child`: one job, told on stdin; events on the real stdout; everything else in the log.

The first line of stdin is the Job. File descriptor 1 is put aside for events and replaced by stderr, which the parent
has pointed at the run's log.txt: whatever a library prints, from Python or from C, cannot spoil the event stream.

Ctrl-C, a polite kill and the end of stdin (the parent died) all mean: save and stop. When the parent is gone its pipe
is broken, and the remaining events are appended to the journal from here.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

import msgspec

from onecard.execute.job import Job
from onecard.execute.perform import perform
from onecard.execute.session import RunSession


class Events:
    """Writes one event a line; to the journal itself once nobody reads the pipe any more."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe: TextIO | None = pipe
        self._journal: Path | None = None
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder(enc_hook=_plain)

    def fall_back_to(self, journal: Path) -> None:
        self._journal = journal

    def send(self, event: dict[str, Any]) -> None:
        line = self._encoder.encode(event).decode() + "\n"
        with self._lock:
            if self._pipe is not None:
                try:
                    self._pipe.write(line)
                    self._pipe.flush()
                    return
                except OSError:
                    self._pipe = None
            if self._journal is not None:
                with self._journal.open("a", encoding="utf-8") as file:
                    file.write(line)


def _plain(value: Any) -> Any:
    """Figures of numpy and torch as plain numbers, paths as text; anything else is named, never dropped."""
    if hasattr(value, "item") and callable(value.item):
        return value.item()
    return str(value)


def take_stdout() -> TextIO:
    """The real stdout for events; file descriptor 1 becomes stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8", newline="\n")


def main() -> None:
    """Read the job, do it, tell how it ended."""
    events = Events(take_stdout())
    commands = sys.stdin.buffer
    job = msgspec.json.decode(commands.readline(), type=Job)
    events.fall_back_to(Path(job.journal or Path(job.folder) / "journal.jsonl"))
    session = RunSession(job, events.send)

    def listen() -> None:
        for line in commands:
            command = msgspec.json.decode(line)
            if command.get("stop"):
                session.stop()
            else:
                session.commands.put(command)
        session.stop()

    def interrupted(*_: object) -> None:
        if session.stopping:
            raise KeyboardInterrupt
        session.stop()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupted)
    session.emit("started", pid=os.getpid())
    threading.Thread(target=listen, daemon=True, name="onecard-commands").start()
    ending = perform(job, session)
    session.emit("result", **msgspec.to_builtins(ending))
    sys.stderr.flush()
    # Libraries with threads of their own (llama.cpp's server, data loaders) may hang or crash while they are taken
    # down; everything is told, so leave at once.
    os._exit(0)


if __name__ == "__main__":
    main()
