"""pretrain on a device that is too small, for the tests of the guard: from a given micro-batch on a phase has no memory.

ONECARD_TEST_LIMIT is "phase:largest micro-batch:step from which on"; ONECARD_TEST_KILL is the step before which the
child kills itself the hard way, once.
"""

import os
import signal
from pathlib import Path

import msgspec

from onecard.core.errors import OutOfMemory
from onecard.engines import checkpoint, gpt_run
from onecard.workloads import pretrain


def _run(settings, session):
    where, micro, since = os.environ.get("ONECARD_TEST_LIMIT", "none:0:0").split(":")
    kill = int(os.environ.get("ONECARD_TEST_KILL", "-1"))
    too_large = pretrain.course_of(settings).micro > int(micro)
    marker = Path(session.folder) / "killed"
    now = {"step": 0}

    def limited(function, phase, step_of):
        def call(*args, **kwargs):
            now["step"] = max(now["step"], step_of(*args))
            if phase == where and too_large and now["step"] >= int(since):
                raise OutOfMemory(f"injected in {phase}")
            if phase == "train" and now["step"] == kill and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    kept = pretrain.step, gpt_run.evaluate, checkpoint.save
    pretrain.step = limited(pretrain.step, "train", lambda state: state.step)
    gpt_run.evaluate = limited(gpt_run.evaluate, "evaluate", lambda *_: now["step"])
    checkpoint.save = limited(checkpoint.save, "save", lambda folder, step, *_: step)
    try:
        return pretrain.run(settings, session)
    finally:
        pretrain.step, gpt_run.evaluate, checkpoint.save = kept


workload = msgspec.structs.replace(pretrain.workload, run=_run)
