"""Prints what a trace of finetune's step holds at its peak, as JSON; its own process, since fake CUDA stays for good."""

import json
import sys
import warnings

warnings.simplefilter("ignore")

# loaded before the fake CUDA: some of them ask for the device while they are imported
import bitsandbytes
import datasets
import peft
import torch
from trl import SFTTrainer

from onecard.core.settings import make
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps
from onecard.workloads import finetune

settings = make(finetune.Settings, json.loads(sys.argv[1]))
assert bitsandbytes and datasets and peft and SFTTrainer


def build():
    with torch.device("cuda"):
        state = finetune.build(settings)

    def step():
        with torch.device("cuda"):
            finetune.step(state)

    return step


cost = trace_steps(build, profile("sm_89")).cost()
top = max(cost.phases, key=lambda p: p.memory().likely)
print(json.dumps({p.name: p.bytes.likely for p in top.parts}))
