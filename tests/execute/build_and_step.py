"""A workload of two functions, as a user writes it: a matrix product whose state is 64 MiB."""

from typing import Annotated

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost, Phase
from onecard.core.workload import Workload

SIDE = 4096


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    rows: Annotated[int, Meta(description="rows of each step")] = 8


def cost(settings):
    return Cost(phases=(Phase(name="step", unit="rows", units=float(settings.rows)),), runtime="torch")


def build(settings):
    import torch

    return {"weights": torch.ones(SIDE, SIDE), "input": torch.ones(settings.rows, SIDE), "steps": 0}


def step(state):
    state["steps"] += 1
    return state["input"] @ state["weights"]


workload = Workload(settings=Settings, cost=cost, build=build, step=step)
