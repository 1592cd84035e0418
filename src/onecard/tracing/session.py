"""One trace: a program runs on fake tensors while everything is watched, and a Cost comes out.

    trace = Trace(profile)
    with trace.running():
        ... any PyTorch code ...
    cost = trace.cost()

Two steps are traced: the first creates the optimizer's states, the second shows what every later step does (a third
changes nothing). Phases of the Cost hold the peak of that second step by category, and its operations.
"""

import contextlib
import gc
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch

from onecard.core.cost import Cost, Part, Phase
from onecard.core.ranges import Range
from onecard.tracing.counting import Counter as Operations
from onecard.tracing.counting import Row
from onecard.tracing.fake_cuda import fake_cuda
from onecard.tracing.fake_cuda.arrays import arrays
from onecard.tracing.phases import BUILD, FORWARD, Phases
from onecard.tracing.profiles import Profile
from onecard.tracing.scratch import Scratch
from onecard.tracing.storages import Storages
from onecard.tracing.tracker import FakeTrace, Watcher
from onecard.tracing.values import Values

STEPS = 2

PART_OF = {"inputs": "activations"}
"""category of a storage -> part of a Cost, where the names differ"""


class Enough(BaseException):
    """The program has shown what it does; ends it from inside, past every `except Exception`."""


class Trace:
    """Watches one program on a fake card.

    unknown: share that a mask without known values selects (values.py).  steps: how many steps to watch.
    """

    def __init__(self, profile: Profile, unknown: float = 1.0, steps: int = STEPS, routing: str = "balanced") -> None:
        self.profile = profile
        self.steps = steps
        self.storages = Storages("cuda")
        self.phases = Phases(self.storages)
        self.operations = Operations()
        self.scratch = Scratch(profile, os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        self.values = Values(unknown, routing)
        self.watcher = Watcher(self.storages, self.phases, self.operations, self.scratch, self.values)
        self.attention: Counter[str] = Counter()
        self.notes: list[str] = []
        self._before_last: dict[tuple[Any, ...], Row] = {}
        self._last_at = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """PyTorch code inside runs on fake tensors and is watched. `Enough` ends it quietly."""
        gc.collect()
        gc.freeze()  # a million objects of imported libraries need not be looked at again and again
        with (
            fake_cuda(self.profile, self.storages, self.note) as taken,
            self.phases.watching(),
            arrays(self.values),
            FakeTrace(self.watcher),
        ):
            try:
                yield
            except Enough:
                pass
            finally:
                self.phases.tag()
                self.attention = taken
                gc.unfreeze()

    def note(self, text: str) -> None:
        """Something that the user should know, said once."""
        if text not in self.notes:
            self.notes.append(text)

    def step_begins(self) -> None:
        """What follows is one step; the last one that begins is the one that the Cost describes."""
        self._before_last = self.operations.snapshot()
        marks = self.storages.marks
        if marks[-1] != (len(self.storages.order), FORWARD):  # a step of nothing but forward follows another
            self.phases.phase = ""
            self.phases.enter(FORWARD)
        self._last_at = len(marks) - 1

    def cost(self) -> Cost:
        """What was seen."""
        events = self.storages.events()
        peaks = peaks_by_phase(self.storages, self._last_at)
        phases = []
        for name, held in peaks.items():
            parts = tuple(_part(part, size) for part, size in sorted(held.items(), key=lambda h: -h[1]))
            if name != BUILD and self.scratch.guessed:
                parts = _widened(parts, self.scratch.guessed)
            if name != BUILD and self.scratch.unseen:
                unseen = Range(low=0, likely=0, high=self.scratch.unseen)
                parts += (Part(name="workspace", bytes=unseen, basis="guess", equation="workspace of a convolution"),)
            parts += (Part(name="context", bytes=self.profile.context, basis="guess"),)
            tf32 = torch.backends.cuda.matmul.allow_tf32
            operations = [] if name == BUILD else self.operations.operations(name, self._before_last, tf32)
            if self.storages.managed:
                managed = Range.exact(self.storages.managed)
                parts += (Part(name="optimizer", bytes=managed, place="host", basis="traced"),)
            phases.append(Phase(name=name, parts=parts, operations=tuple(operations)))
        return Cost(
            phases=tuple(phases),
            runtime="torch",
            basis="traced",
            events=events,
            card_class=self.profile.card_class,
            notes=(*self._notes_on_values(), *self.notes, *self.scratch.notes()),
            versions=versions(),
            extra={"operators": self.operations.calls, "attention": dict(self.attention)},
        )

    def _notes_on_values(self) -> list[str]:
        if self.phases.recurrent:
            self.note("recurrent layers were traced step by step; cuDNN's one kernel keeps other intermediate results")
        if self.values.routed:
            self.note(
                f"tokens were sent to experts as the setting routing={self.values.routing} says, not as data would"
            )
        asked = {k: v for k, v in self.values.placeholders.items() if v}
        if not asked:
            return []
        listed = ", ".join(f"{name} {count} times" for name, count in sorted(asked.items()))
        return [f"values that depend on data were answered by placeholders: {listed}"]


def _part(name: str, size: int) -> Part:
    return Part(name=name, bytes=Range(low=size, likely=size, high=size), basis="traced")


def _widened(parts: tuple[Part, ...], guessed: int) -> tuple[Part, ...]:
    """Scratch that rests on a guess may be absent, or twice as large."""
    size = sum(p.bytes.likely for p in parts if p.name == "workspace")
    if not size:
        return parts  # none of it is there when most is alive
    workspace = Range(low=max(0, size - guessed), likely=size, high=size + guessed)
    others = tuple(p for p in parts if p.name != "workspace")
    return (*others, Part(name="workspace", bytes=workspace, basis="guess"))


def peaks_by_phase(storages: Storages, since: int) -> dict[str, dict[str, int]]:
    """For each phase that begins at mark number `since` or later: bytes by part at the moment when most is alive."""
    sizes, order, categories = storages.sizes, storages.order, storages.categories
    marks = storages.marks
    alive: dict[str, int] = {}
    born = bytearray(len(sizes))
    peaks: dict[str, tuple[int, dict[str, int]]] = {}
    total = at = 0
    bounds = [index for index, _ in marks[1:]] + [len(order)]
    for number, ((_, phase), end) in enumerate(zip(marks, bounds, strict=True)):
        counted = number >= since or phase == BUILD
        best, held = peaks.get(phase, (-1, {}))
        if counted and total > best:
            best, held = total, dict(alive)
        while at < end:
            storage = order[at]
            at += 1
            part = categories[storage]
            part = PART_OF.get(part, part)
            if born[storage]:
                alive[part] -= sizes[storage]
                total -= sizes[storage]
            else:
                born[storage] = 1
                alive[part] = alive.get(part, 0) + sizes[storage]
                total += sizes[storage]
                if counted and total > best:
                    best, held = total, dict(alive)
        if counted:
            peaks[phase] = best, held
    return {phase: {part: size for part, size in held.items() if size} for phase, (_, held) in peaks.items()}


def versions() -> dict[str, str]:
    """Of everything that a trace depends on and that is loaded."""
    import sys

    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("transformers", "peft", "trl", "accelerate", "bitsandbytes", "diffusers", "timm", "torchvision"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__version__"):
            found[name] = str(module.__version__)
    return found


def trace_steps(
    make: Callable[[], Callable[[], Any]], profile: Profile, steps: int = STEPS, unknown: float = 1.0
) -> Trace:
    """Traces `make()`, which builds the work and returns its step, and then `steps` calls of that step."""
    trace = Trace(profile, unknown, steps)
    with trace.running():
        step = make()
        for _ in range(steps):
            trace.step_begins()
            trace.phases.enter("forward")
            step()
    return trace
