"""Does one job in this process: the budget first, then the workload's own run or prove. Used by child and inline."""

import sys
import traceback

from onecard.core.errors import BadSetting
from onecard.core.settings import make
from onecard.execute.budget import keep_budget
from onecard.execute.job import Job, workload_of
from onecard.execute.outcome import Ending, ending_of
from onecard.execute.session import RunSession


def perform(job: Job, session: RunSession) -> Ending:
    """Run the job to its end. Errors become an Ending; a traceback goes to stderr, which is the run's log."""
    try:
        workload = workload_of(job.workload)
        settings = make(workload.settings, job.settings)
        work = workload.prove if job.mode == "prove" else workload.run
        if work is None and job.mode == "prove" and workload.build is not None and workload.step is not None:
            from onecard.execute.steps import prove_steps

            keep_budget(job, session)
            prove_steps(workload, settings, session)
            return Ending(outcome="stopped" if session.stopping else "ok")
        if work is None:
            raise BadSetting(f"{job.workload} cannot {job.mode}", next=f"onecard plan {job.workload}")
        keep_budget(job, session)
        session.baseline(
            told=False
        )  # the workload tells it when its libraries are loaded, its first phase at the latest
        quality = work(settings, session)
        session.finished()
        return Ending(outcome="stopped" if session.stopping else "ok", quality=quality or {})
    except KeyboardInterrupt:
        return Ending(outcome="stopped", what="stopped before it could save")
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return ending_of(error, session.meter.failed_in)
