"""Proves any workload that has `build` and `step`: the same two functions that `trace` predicts and `run` runs."""

import importlib
import statistics
import time
from contextlib import suppress
from typing import Any

from onecard.core.session import Session
from onecard.core.workload import Workload

WARM_UP, LEAST, MOST, SECONDS = 2, 5, 50, 10.0
"""steps before the clock runs, fewest and most timed steps, and the time after which it is enough"""


def prove_steps(workload: Workload, settings: Any, session: Session) -> None:
    """Build once, warm up, then time steps one by one; memory peaks are those of the phases build, warm_up and step."""
    import torch

    assert workload.build is not None and workload.step is not None
    torch.set_num_threads(session.threads)
    load_code(workload, settings)
    torch.set_default_device(session.device)
    session.baseline()
    with session.phase("build"):
        state = workload.build(settings)
    with session.phase("warm_up"):
        for _ in range(WARM_UP):
            workload.step(state)
    taken: list[float] = []
    with session.phase("step"):
        while len(taken) < MOST and not session.stopping:
            start = time.perf_counter()
            workload.step(state)
            if session.device.startswith("cuda"):
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
            session.progress(len(taken), MOST, "steps", seconds=taken[-1])
            if len(taken) >= LEAST and sum(taken) >= SECONDS:
                break
    if not taken:
        return
    middle = statistics.median(taken)
    session.emit("timings", name="step", seconds=taken)
    session.measured("step_seconds", middle, "s")
    for phase in workload.cost(settings).phases:
        if phase.unit and phase.name != "write":  # a step trains; what it writes afterwards was not proven
            session.measured(f"{phase.name}_{phase.unit}_per_s", phase.units / middle, f"{phase.unit}/s")


def load_code(workload: Workload, settings: Any) -> None:
    """Import what a build imports, so that code does not count as memory of the work: its libraries, then a build without memory.

    Libraries import a model's code when it is made. On torch's meta device making it allocates nothing; a build that
    cannot go there (it reads values, or a file) has imported what it needs before it fails.
    """
    import torch

    for need in workload.needs(settings):
        importlib.import_module(need.module)
    with torch.device("meta"), torch.random.fork_rng(devices=()), suppress(Exception):
        assert workload.build is not None
        workload.build(settings)
