"""ONE FILE PER WORKLOAD; the file name is its name, and the folder is the registry.

`names()` lists the folder without importing anything; `get()` imports one file. A broken file is a visible error that
names it, never a workload that silently vanishes.
"""

import importlib
from functools import cache
from pathlib import Path

from onecard.core.errors import BadFile, UnknownName
from onecard.core.workload import Workload


@cache
def names() -> tuple[str, ...]:
    """The workloads that exist, in alphabetical order: "chat", "classify-text" ..."""
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted(f.stem.replace("_", "-") for f in files if not f.stem.startswith("_")))


@cache
def get(name: str) -> Workload:
    """One workload by its name. Raises UnknownName with the nearest, BadFile for a file that does not define one."""
    if name not in names():
        raise UnknownName("workload", name, names(), next=f"workloads are: {', '.join(names())}")
    module_name = f"onecard.workloads.{name.replace('-', '_')}"
    try:
        workload = importlib.import_module(module_name).workload
    except Exception as error:
        raise BadFile(
            f"the workload file {module_name.rpartition('.')[2]}.py is broken",
            why=f"{type(error).__name__}: {error}",
            next="correct that file; the other workloads are not affected",
        ) from error
    if not isinstance(workload, Workload):
        raise BadFile(f"{module_name} has no `workload = Workload(...)`", next="end the file with that line")
    return workload


def title(name: str) -> str:
    """First line of the workload file's docstring."""
    get(name)
    doc = importlib.import_module(f"onecard.workloads.{name.replace('-', '_')}").__doc__ or ""
    return doc.strip().partition("\n")[0].rstrip(".")
