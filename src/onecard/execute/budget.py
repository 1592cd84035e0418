"""`--budget 12GiB`: makes a larger card behave like a smaller one, and says how.

- torch on CUDA: the caching allocator may take only (budget - context - reserve) / total of the card
  (torch.cuda.set_per_process_memory_fraction). The CUDA context is outside the allocator, so it is taken off here;
  reserve is what a desktop would hold on the smaller card.
- llama.cpp on CUDA: it takes what it finds, so a ballast process holds everything but the budget.
- CPU: nothing can be taken away from a process, so the parent watches its memory and stops it (outcome oom).
"""

import subprocess
import sys

from onecard.core.cost import Cost
from onecard.core.errors import BadSetting, OutOfMemory
from onecard.core.settings import make
from onecard.core.units import show_size
from onecard.execute.context import cuda_context
from onecard.execute.job import Job, workload_of
from onecard.execute.session import RunSession

TYPICAL_CONTEXT = 500 * 1024**2
"""bytes, where neither NVML nor the driver tells: between 300 and 600 MiB on cards of this decade"""


def keep_budget(job: Job, session: RunSession) -> None:
    """Put the budget in force before anything is allocated. Raises OutOfMemory if not even the context fits."""
    if job.budget is None:
        return
    if not job.device.startswith("cuda"):
        session.emit("budget", how="watcher", bytes=job.budget)
        return
    workload = workload_of(job.workload)
    cost: Cost = workload.cost(make(workload.settings, job.settings))
    if cost.runtime == "llama.cpp":
        _ballast(job, session)
    else:
        _fraction(job, session)


def allocator_fraction(budget: int, context: int, reserve: int, total: int) -> float:
    """Share of the card that torch's allocator may take. Raises OutOfMemory where nothing is left."""
    left = budget - context - reserve
    if left <= 0:
        raise OutOfMemory(
            f"a budget of {show_size(budget)} leaves nothing to compute with",
            why=f"the CUDA context takes {show_size(context)} and {show_size(reserve)} are reserved",
            next="give a larger --budget",
        )
    if budget > total:
        raise BadSetting(
            f"a budget of {show_size(budget)} is more than the device's {show_size(total)}",
            next="give a smaller --budget, or none",
        )
    return left / total


def _fraction(job: Job, session: RunSession) -> None:
    import torch

    context = cuda_context(job.device) or TYPICAL_CONTEXT
    total = torch.cuda.get_device_properties(job.device).total_memory
    fraction = allocator_fraction(job.budget or 0, context, job.reserve, total)
    torch.cuda.set_per_process_memory_fraction(fraction, job.device)
    session.emit("budget", how="allocator fraction", bytes=job.budget, context=context, fraction=fraction)


def _ballast(job: Job, session: RunSession) -> None:
    """Start a process that leaves only the budget free; it ends with this one (its stdin closes)."""
    ordinal = job.device.partition(":")[2] or "0"
    holder = subprocess.Popen(
        [sys.executable, "-m", "onecard.execute.ballast", str(job.budget), ordinal],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = holder.stdout.readline().strip() if holder.stdout else ""
    if not answer.isdigit():
        raise OutOfMemory("the ballast for --budget could not be placed", why=answer or "no CUDA driver answered")
    session.emit("budget", how="ballast process", bytes=job.budget, ballast=int(answer))
