"""Real text and real runs for the tests of workloads: in this process, on the CPU, with a journal like any other run."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onecard.execute.inline import run_inline
from onecard.execute.job import Job
from onecard.execute.journal import Journal


@dataclass
class Ran:
    ending: object
    folder: Path
    events: list = field(default_factory=list)

    def of(self, name):
        return [e for e in self.events if e["event"] == name]


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """About 110 kB of the language reference, as a file."""
    from pydoc_data.topics import topics

    file = tmp_path_factory.mktemp("corpus") / "topics.txt"
    file.write_text("\n\n".join(topics[k] for k in sorted(topics)[:24]), encoding="utf-8")
    return file


@pytest.fixture
def run_workload(tmp_path):
    """run_workload(name, settings, folder="a") -> Ran. The same folder again is a resume."""

    def run(name, settings, *, folder="a", mode="run", on_event=None):
        place = tmp_path / "runs" / folder
        job = Job(
            workload=name,
            settings=settings,
            mode=mode,
            folder=str(place),
            cache=str(tmp_path / "cache"),
            threads=1,
            started=time.time(),
        )
        ran = Ran(None, place)

        def see(event):
            ran.events.append(event)
            return on_event(event) if on_event else None

        with Journal(place) as journal:
            ran.ending = run_inline(job, journal, see)
        return ran

    return run
