"""Settings: everything that changes memory, time or quality of one workload, as one flat typed value.

A workload's Settings is a frozen `msgspec.Struct`; each field is `Annotated[type, Meta(description=...)]` with a
default, and that one wording feeds the command line's help, the web form and the docs. None as a value means "the
planner chooses".
"""

import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec

from onecard.core.errors import BadSetting, OnecardError, UnknownName

S = TypeVar("S", bound=msgspec.Struct)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as people are told of it."""

    name: str
    type: type
    """int, float, bool or str"""
    default: Any
    required: bool
    optional: bool
    """may be None: the planner chooses"""
    options: tuple[Any, ...]
    help: str


@cache
def fields(settings: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The settings of a workload in the order in which they are written."""
    hints = typing.get_type_hints(settings, include_extras=True)
    return tuple(_field(info, hints[info.name]) for info in msgspec.structs.fields(settings))


def _field(info: Any, hint: Any) -> Field:
    description = ""
    if typing.get_origin(hint) is typing.Annotated:
        description = next((m.description or "" for m in hint.__metadata__ if isinstance(m, msgspec.Meta)), "")
        hint = hint.__origin__
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    optional = type(None) in arms
    arm = next(a for a in arms if a is not type(None))
    if typing.get_origin(arm) is typing.Annotated:
        arm = arm.__origin__
    options = typing.get_args(arm) if typing.get_origin(arm) is Literal else ()
    return Field(
        name=info.name,
        type=type(options[0]) if options else arm,
        default=None if info.required else info.default,
        required=info.required,
        optional=optional,
        options=options,
        help=description,
    )


def make(settings: type[S], values: Mapping[str, Any]) -> S:
    """Settings from names and values (strings are converted). Raises UnknownName for a key, BadSetting for a value."""
    known = settings.__struct_fields__
    for key in values:
        if key not in known:
            raise UnknownName("setting", key, known, next=f"settings are: {', '.join(known)}")
    missing = [f.name for f in fields(settings) if f.required and f.name not in values]
    if missing:
        raise BadSetting(f"no value for {', '.join(missing)}", next=f"give --{missing[0].replace('_', '-')}")
    try:
        return msgspec.convert(dict(values), settings, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise _refused(settings, name, values.get(name), message) from None


_BOUNDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def _refused(settings: type[msgspec.Struct], name: str, value: Any, message: str) -> OnecardError:
    """What a person reads instead of the converter's words: the names that are allowed, or the kind of value."""
    found = next((f for f in fields(settings) if f.name == name), None)
    if found is None:
        return BadSetting("settings will not do", why=message)
    if found.options and isinstance(value, str):
        allowed = ", ".join(str(o) for o in found.options)
        return UnknownName(name.replace("_", " "), value, map(str, found.options), next=f"{name} is one of {allowed}")
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[found.type]
    bound = re.match(r"Expected `\w+`(?: \| null)? (>=|>|<=|<) (.+)", message)
    if bound:
        why = f"it must be {_BOUNDS[bound[1]]} {bound[2]}"
    else:
        why = f"it must be {expected}" if message.startswith("Expected `") else message
    return BadSetting(f"{name} = {value!r} will not do", why=why, next=f"{name}: {found.help}")


def as_dict(settings: msgspec.Struct) -> dict[str, Any]:
    """Plain values by name, for JSON."""
    result: dict[str, Any] = msgspec.to_builtins(settings)
    return result
