"""Prints what a trace of a text workload's step holds at its peak, as JSON; its own process: fake CUDA stays for good."""

import json
import sys

import torch

from onecard.core.settings import make
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps
from onecard.workloads import get

work = get(sys.argv[1])
settings = make(work.settings, json.loads(sys.argv[2]))


def build():
    with torch.device("cuda"):
        state = work.build(settings)

    def step():
        with torch.device("cuda"):
            work.step(state)

    return step


cost = trace_steps(build, profile("sm_89")).cost()
top = max(cost.phases, key=lambda p: p.memory().likely)
print(json.dumps({p.name: p.bytes.likely for p in top.parts}))
