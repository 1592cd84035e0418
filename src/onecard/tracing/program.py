"""Runs the user's program inside a trace: a script as it is, a function that builds a step, or a Workload.

A script would train for hours; it is stopped from inside once two steps of each optimizer are seen, at the moment when
it calls its model for a third. A script without an optimizer runs to its end, or to the time limit.
"""

import ast
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

USES_BITSANDBYTES = ("transformers", "peft", "accelerate", "diffusers")
"""libraries that import bitsandbytes when something is asked of them; it reads CUDA's own functions then"""


class Unusable(Exception):
    """The target is not what was said: what, why, next."""


def import_early(source: str, folder: Path | None = None) -> None:
    """Imports the libraries that a program names before anything is patched.

    Every import statement of installed packages is run, in functions too and in the program's own modules (of `folder`):
    packages such as transformers load what is asked of them only when it is asked. Own modules are only read, since they
    may ask for the card and keep the answer.
    """
    for name in EARLY:
        if name in source:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for module, names in _imports(source, folder, set()):
        # whatever it raises, the program itself will meet and tell
        with contextlib.suppress(Exception):
            made = importlib.import_module(module)
            for name in names:
                if name != "*" and not hasattr(made, name):
                    importlib.import_module(f"{module}.{name}")
    if any(name in sys.modules for name in USES_BITSANDBYTES):
        with contextlib.suppress(Exception):
            importlib.import_module("bitsandbytes")


def _imports(source: str, folder: Path | None, seen: set[Path]) -> Iterator[tuple[str, list[str]]]:
    """(module, names taken of it) of all import statements, of installed packages only."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            asked = [(alias.name, list[str]()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            asked = [(node.module, [alias.name for alias in node.names])]
        else:
            continue
        for module, names in asked:
            top = module.partition(".")[0]
            own = [] if folder is None else _own_files(folder, module)
            if own:
                for file in own:
                    if file not in seen:
                        seen.add(file)
                        yield from _imports(file.read_text(encoding="utf-8", errors="replace"), folder, seen)
            elif top not in sys.stdlib_module_names and not (folder is not None and (folder / top).is_dir()):
                yield module, names


def _own_files(folder: Path, module: str) -> list[Path]:
    path = folder.joinpath(*module.split("."))
    return [f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()]


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
            trace.storages.close()
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
