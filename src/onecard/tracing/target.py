"""What is traced: a script as it is, or a function of a file that builds a step.

    train.py                 an unmodified script; its arguments may follow
    train.py:build           build(**settings) returns the step, a function without arguments
    finetune.py:workload     a onecard Workload: its build and step

A trace runs in a process of its own, so code travels as a file and a name, never as an object.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import OnecardError


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Code by file and name."""

    file: str
    """absolute path"""
    function: str | None = None
    """None: the file is run as a script"""

    def __str__(self) -> str:
        name = Path(self.file).name
        return f"{name}:{self.function}" if self.function else name


def target_of(given: str | Path | Callable[..., Any]) -> Target:
    """The Target that is meant. Raises OnecardError for code that no other process can find."""
    if callable(given) and not isinstance(given, str | Path):
        return _of_function(given)
    text = str(given)
    file, _, function = text.rpartition(":") if _names_function(text) else (text, "", "")
    path = Path(file).expanduser()
    if not path.is_file():
        raise OnecardError(
            f'there is no file "{file}"',
            why="a trace runs a Python file, or a function of one",
            next="onecard trace FILE.py, or onecard trace FILE.py:build",
        )
    if path.suffix != ".py":
        raise OnecardError(
            f'"{path.name}" is not a Python file',
            why="a notebook has no functions that another process could import" if path.suffix == ".ipynb" else "",
            next="save the code as FILE.py",
        )
    if function and not function.isidentifier():
        raise OnecardError(f'"{function}" is not the name of a function', next="onecard trace FILE.py:build")
    return Target(file=str(path.resolve()), function=function or None)


def _names_function(text: str) -> bool:
    head, colon, tail = text.rpartition(":")
    # C:\train.py has a colon too
    return bool(colon) and len(head) > 1 and "/" not in tail and "\\" not in tail


def _of_function(function: Callable[..., Any]) -> Target:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    advice = "move it to the top level of a .py file, with what it needs as settings: trace(build, batch=8)"
    if code is None:
        raise OnecardError(f"{name} is not a Python function", next=advice)
    if "<lambda>" in name:
        raise OnecardError("a lambda cannot be traced", why="another process finds code by file and name", next=advice)
    if function.__closure__ or "<locals>" in name:
        raise OnecardError(
            f"{name.replace('<locals>.', '')} is defined inside another function",
            why="what it has captured exists only in this process",
            next=advice,
        )
    if "." in name:
        raise OnecardError(f"{name} is a method", why="its object exists only in this process", next=advice)
    if not Path(code.co_filename).is_file():
        raise OnecardError(
            f"{name} was typed into {code.co_filename.strip('<>')}", why="there is no file to run", next=advice
        )
    return Target(file=str(Path(code.co_filename).resolve()), function=name)
