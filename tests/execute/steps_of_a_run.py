"""A workload file for the tests of execute: what a run does is chosen by its settings."""

import os
import signal
import sys
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost, Phase
from onecard.core.errors import BadFile
from onecard.core.workload import Workload


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    do: Annotated[str, Meta(description="what the run does")] = "work"
    bytes: Annotated[int, Meta(description="how much it allocates")] = 0


def cost(settings):
    return Cost(phases=(Phase(name="step"),), runtime="torch")


def _work(settings, session):
    with session.phase("load"):
        block = bytearray(settings.bytes)
        block[::4096] = b"x" * len(block[::4096])
    session.measured("load_tokens_per_s", 7.0, "tokens/s")
    return {"bytes": len(block)}


def _wait(settings, session):
    """Until somebody says stop; saves what it has."""
    with session.phase("wait"):
        session.emit("text", text="waiting")
        for command in session.asked():
            session.emit("text", text=command["say"])
    (session.folder / "saved").write_text("all of it")
    return {"saved": True}


def _deaf(settings, session):
    """Never looks whether it should stop."""
    session.emit("text", text="waiting")
    while True:
        time.sleep(0.05)


def _noisy(settings, session):
    print("a library prints")
    os.write(1, b"and one that is written in C, with { no end of line")
    sys.stdout.flush()
    return {}


def _mistake(settings, session):
    raise BadFile("the data file is empty", why="it has 0 lines", next="give another --data")


def _bug(settings, session):
    return {"ratio": 1 / 0}


def _memory(settings, session):
    try:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    finally:
        session.emit("text", text="tried")


def _kill(settings, session):
    session.measured("load_tokens_per_s", 7.0, "tokens/s")
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(settings, session):
    os.abort()


def run(settings, session):
    return globals()[f"_{settings.do}"](settings, session)


workload = Workload(settings=Settings, cost=cost, run=run, prove=run)
