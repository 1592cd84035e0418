"""Prints what a trace of pretrain's step holds at its peak, as JSON; its own process, since fake CUDA stays for good."""

import json
import sys

import torch

from onecard.core.settings import make
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps
from onecard.workloads import pretrain

settings = make(pretrain.Settings, json.loads(sys.argv[1]))


def build():
    with torch.device("cuda"):
        state = pretrain.build(settings)

    def step():
        with torch.device("cuda"):
            pretrain.step(state)

    return step


cost = trace_steps(build, profile("sm_89")).cost()
top = max(cost.phases, key=lambda p: p.memory().likely)
print(json.dumps({p.name: p.bytes.likely for p in top.parts}))
