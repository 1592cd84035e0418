"""Runs the user's program inside a trace: a script as it is, a function that builds a step, or a Workload.

A script would train for hours; it is stopped from inside once two steps of each optimizer are seen, at the moment when
it calls its model for a third. A script without an optimizer runs to its end, or to the time limit.
"""

import contextlib
import importlib
import importlib.util
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from onecard.core.workload import Workload
from onecard.tracing.job import Job
from onecard.tracing.session import Enough, Trace

EARLY = ("torch", "numpy", "transformers", "bitsandbytes", "peft", "accelerate", "diffusers", "trl", "datasets", "timm")
"""libraries that ask for the card while they are imported, and must see the true answer then"""


class Unusable(Exception):
    """The target is not what was said: what, why, next."""


def import_early(source: str) -> None:
    """Imports the libraries that a program names before anything is patched."""
    for name in EARLY:
        if name in source or (name == "bitsandbytes" and ("peft" in source or "BitsAndBytesConfig" in source)):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def run_program(job: Job, trace: Trace) -> None:
    """The whole program, inside `trace.running()`. Whatever it raises passes through."""
    if job.target.function is None:
        _run_script(job, trace)
        return
    module = _load(job.target.file)
    made = getattr(module, job.target.function, None)
    if made is None:
        raise Unusable(f'{Path(job.target.file).name} has no "{job.target.function}"')
    if isinstance(made, Workload):
        _run_workload(made, job, trace)
        return
    if not callable(made):
        raise Unusable(f"{job.target} is not a function")
    step = made(**job.settings)
    if not callable(step):
        raise Unusable(f"{job.target} returned {type(step).__name__}, not a step that can be called")
    _repeat(step, trace)


def _repeat(step: Callable[[], Any], trace: Trace) -> None:
    for _ in range(trace.steps):
        trace.step_begins()
        trace.phases.enter("forward")
        step()


def _run_workload(workload: Workload, job: Job, trace: Trace) -> None:
    import msgspec
    import torch

    if workload.build is None or workload.step is None:
        raise Unusable(f"{job.target} has no build and step")
    step = workload.step
    settings = msgspec.convert(job.settings, workload.settings, strict=False)
    with torch.device("cuda"):
        state = workload.build(settings)
        _repeat(lambda: step(state), trace)


def _run_script(job: Job, trace: Trace) -> None:
    seen = 0

    def stop_when_seen() -> None:
        nonlocal seen
        updates = trace.phases.updates.values()
        if updates and (min(updates) >= trace.steps or max(updates) >= trace.steps + 2):
            raise Enough
        if sum(updates) != seen:
            seen = sum(updates)
            trace.step_begins()

    trace.phases.on_forward = stop_when_seen
    sys.argv = [job.target.file, *job.arguments]
    sys.path.insert(0, str(Path(job.target.file).parent))
    with one_process():
        runpy.run_path(job.target.file, run_name="__main__")


def _load(file: str) -> ModuleType:
    folder = str(Path(file).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = Path(file).stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look a module up by its name
    with one_process():
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def one_process() -> Iterator[None]:
    """Data loaders read in this process: in workers of their own, nobody would see what they do."""
    from torch.utils.data import DataLoader

    plain = DataLoader.__init__

    def without_workers(self: Any, *args: Any, **options: Any) -> None:
        options.update(num_workers=0, prefetch_factor=None, persistent_workers=False, multiprocessing_context=None)
        plain(self, *args[:5], **options)

    # positional arguments from the sixth on (num_workers ..) are dropped with what they would set
    DataLoader.__init__ = without_workers
    try:
        yield
    finally:
        DataLoader.__init__ = plain


def local_files(folder: Path) -> list[str]:
    """Python files below a folder that this process has imported, without installed packages."""
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(folder) and "site-packages" not in file and file.endswith(".py"):
            found.append(file)
    return sorted(set(found))
