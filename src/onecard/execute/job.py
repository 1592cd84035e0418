"""A Job: everything that a child process needs to know, as one line of JSON. Named, never pickled."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import msgspec

from onecard import workloads
from onecard.core.errors import BadFile, BadSetting
from onecard.core.settings import make
from onecard.core.workload import Workload


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do, where, and within which limits."""

    workload: str
    """a name ("chat") or "path/to/file.py" whose `workload` is meant"""
    settings: dict[str, Any]
    mode: str
    """prove or run"""
    folder: str
    """the run's own folder; a run that finds its checkpoints there continues them"""
    journal: str = ""
    """file of the journal, where it is not in `folder`: a resumed run has a journal of its own"""
    cache: str
    """for large files that can be made again"""
    device: str = "cpu"
    """as torch spells it: cpu, cuda, cuda:1, mps, xpu"""
    budget: int | None = None
    """bytes of device memory to stay within"""
    reserve: int = 0
    """bytes of the budget that a desktop and the driver would keep"""
    threads: int = 1
    started: float = 0.0
    """time.time() of the parent when the run began: zero of every "t\""""
    options: dict[str, Any] = {}
    """for the workload's own run function, beside its settings: {"prompt": ..., "serve": true}"""


def workload_of(name: str) -> Workload:
    """A workload by its name, or from a file of the user ("step.py"). Raises UnknownName or BadFile."""
    if not name.endswith(".py"):
        return workloads.get(name)
    path = Path(name)
    if not path.is_file():
        raise BadFile(
            f"no file {name}", next="give the path of a Python file that ends with `workload = Workload(...)`"
        )
    spec = importlib.util.spec_from_file_location(f"onecard_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BadFile(f"{name} cannot be imported", next="give the path of a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, "workload", None)
    if not isinstance(found, Workload):
        raise BadFile(f"{name} has no `workload = Workload(...)`", next="end the file with that line")
    return found


def checked(workload: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON can carry them. Raises UnknownName or BadSetting, also for a value that is code."""
    for key, value in settings.items():
        if callable(value):
            raise BadSetting(
                f"{key} is a function, which cannot cross to another process",
                why="a run happens in a child process and is told names, not code",
                next='name it instead: "file.py:function"',
            )
    result: dict[str, Any] = msgspec.to_builtins(make(workload_of(workload).settings, settings))
    return result
