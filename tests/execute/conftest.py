"""Jobs for the tests of execute."""

import time
from pathlib import Path

import pytest

from onecard.execute.job import Job
from onecard.execute.journal import Journal

FILE = str(Path(__file__).with_name("steps_of_a_run.py"))


@pytest.fixture
def make_job(tmp_path):
    """A Job of steps_of_a_run.py in a folder of its own, and its open journal (which begins with a plan)."""
    opened = []

    def make(do="work", size=0, **changes):
        folder = tmp_path / "runs" / "abc123"
        job = Job(
            workload=FILE,
            settings={"do": do, "bytes": size},
            mode="run",
            folder=str(folder),
            cache=str(tmp_path / "cache"),
            started=time.time(),
            **changes,
        )
        journal = Journal(folder)
        opened.append(journal)
        journal.write(
            {
                "event": "begin",
                "id": "abc123",
                "kind": "run",
                "plan": {"workload": "steps", "device": {"name": "this CPU", "kind": "cpu"}},
                "requested": job.settings,
                "environment": {},
                "started": "2026-01-01T00:00:00+00:00",
                "pid": 2**22 + 1,
            }
        )
        return job, journal

    yield make
    for journal in opened:
        journal.close()
