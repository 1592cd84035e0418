"""Reading a recorded or hand-written machine: complete Facts, or another recording with changes.

    {"system": "windows", "cards": [{"name": "NVIDIA GeForce RTX 5070"}], "torch": {"version": "2.6.0+cu124"}}
    {"base": "../healthy/linux.json", "changes": {"torch.version": "2.13.0+cpu", "torch.cuda": null}}

What is missing or null is unknown. What follows from something else is filled in (the CUDA of a driver's version, of
PyTorch's "+cu124", the capability of a card that the catalogue knows), so that a few lines describe a machine. Names
that no field has are told to the reader: a misspelt one must not pass for a healthy machine.
"""

import json
import re
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from onecard.core.errors import OnecardError
from onecard.core.units import parse_size
from onecard.machine.builds import cuda_of_driver, parts
from onecard.machine.facts import Facts
from onecard.machine.nvml import throttle

THROTTLES = {
    "gpu_idle": "idle", "applications_clocks_setting": "application clocks set", "sw_power_cap": "power cap",
    "hw_slowdown": "hardware slowdown", "sync_boost": "sync boost", "sw_thermal_slowdown": "heat (software)",
    "hw_thermal_slowdown": "heat (hardware)", "hw_power_brake_slowdown": "power brake", "display_clocks_setting": "display clocks",
}  # fmt: skip
"""nvidia-smi's names of throttle reasons -> ours"""

SYSTEMS = {"macos": "darwin", "mac": "darwin", "osx": "darwin", "win32": "windows", "win": "windows"}
DEEPEST = 5
"""recordings that stand on one another"""


def read(data: bytes, folder: Path) -> tuple[Facts, tuple[str, ...]]:
    """Facts, and the names in the file that no field has. `folder`: where a "base" is looked for.

    Raises ValueError (msgspec's errors are some) with the place of what cannot be understood, OSError for a missing base.
    """
    given = _whole(json.loads(data), folder, 0)
    unknown: list[str] = []
    fields = _fit(given, Facts, "", unknown)
    if not set(fields) - {"schema", "taken"}:
        raise ValueError(f"none of its names is a field of a machine{': ' + ', '.join(unknown[:5]) if unknown else ''}")
    msgspec.convert(
        fields, Facts, strict=False
    )  # what is of a wrong type ends here, before anything is derived from it
    _complete(fields)
    return msgspec.convert(fields, Facts, strict=False), tuple(unknown)


def _whole(given: Any, folder: Path, depth: int) -> dict[str, Any]:
    """The fields themselves: of this file, or of its base with the changes made."""
    if not isinstance(given, dict):
        raise ValueError(f"expected an object with the fields of a machine, found {type(given).__name__}")
    if "base" not in given or "changes" not in given:
        return given
    if depth >= DEEPEST:
        raise ValueError(f"more than {DEEPEST} recordings stand on one another")
    file = folder / str(given["base"])
    whole = _whole(json.loads(file.read_bytes()), file.parent, depth + 1)
    changes = given["changes"]
    if not isinstance(changes, dict):
        raise ValueError('"changes" must be an object: dotted place -> value')
    for place, value in changes.items():
        change(whole, place.split("."), value)
    return whole


def change(here: Any, steps: list[str], value: Any) -> None:
    """Set one place ("cards.0.name"), or take it away with None. Raises ValueError where there is no such place."""
    for number, step in enumerate(steps[:-1]):
        try:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        except (ValueError, IndexError, AttributeError):
            raise ValueError(f"{'.'.join(steps)}: there is no {'.'.join(steps[: number + 1])}") from None
    try:
        if isinstance(here, list):
            here[int(steps[-1])] = value
        elif value is None:
            here.pop(steps[-1], None)
        else:
            here[steps[-1]] = value
    except (ValueError, IndexError, AttributeError, TypeError):
        raise ValueError(f"{'.'.join(steps)}: there is no such place") from None


def _fit(value: Any, kind: Any, place: str, unknown: list[str]) -> Any:
    """JSON brought nearer to a type: nulls left out, single values as lists, numbers as texts, "12 GiB" as bytes."""
    kind = _bare(kind)
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        types_of = _hints(kind)
        unknown += [f"{place}{name}" for name in value if name not in types_of]
        return {
            n: _fit(v, types_of[n], f"{place}{n}.", unknown)
            for n, v in value.items()
            if n in types_of and v is not None
        }
    if origin is tuple and place.endswith("throttle.") and isinstance(value, int) and not isinstance(value, bool):
        return list(throttle(value) or ())
    if (
        isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and isinstance(value, str)
        and "version" in _hints(kind)
    ):
        return {"version": value}
    if origin is tuple and value is not None:
        inner = get_args(kind)[0]
        several = value if isinstance(value, list) else [value]
        if place.endswith("throttle."):
            several = [
                THROTTLES.get(str(v).lower().replace(" ", "_").removeprefix("clocks_event_reasons."), v)
                for v in several
            ]
        return [_fit(v, inner, f"{place}{i}.", unknown) for i, v in enumerate(several) if v is not None]
    if origin is dict and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {k: _fit(v, inner, f"{place}{k}.", unknown) for k, v in value.items() if v is not None}
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if kind is int and place == "driver_cuda.":
        return _encoded(value)
    if kind is int and isinstance(value, str) and re.search(r"[A-Za-z]", value):
        try:
            return parse_size(value)
        except OnecardError:
            return value
    return value


def _bare(kind: Any) -> Any:
    """X of "X | None"."""
    if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union:
        return next((a for a in get_args(kind) if a is not type(None)), kind)
    return kind


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _encoded(value: Any) -> Any:
    """12040 from 12.4 or "12.4", as a driver's own report writes it."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1000:
        return value
    found = re.fullmatch(r"(\d{1,2})\.(\d)", str(value))
    return int(found[1]) * 1000 + int(found[2]) * 10 if found else value


def _complete(fields: dict[str, Any]) -> None:
    """What follows from what is there."""
    system = str(fields.get("system", "")).lower()
    if system.startswith("wsl"):
        system, fields["wsl"] = "linux", True
    fields["system"] = SYSTEMS.get(system, system)
    if "driver_cuda" not in fields and (cuda := cuda_of_driver(str(fields.get("driver", "")))):
        fields["driver_cuda"] = cuda
    packaged = fields.get("packages", {}).get("torch")
    if "torch" not in fields and packaged and "+" in packaged:
        fields["torch"] = {"version": packaged}
    torch = fields.get("torch")
    if isinstance(torch, dict):
        _complete_torch(torch)
    for number, card in enumerate(fields.get("cards", ())):
        if isinstance(card, dict):
            card.setdefault("index", number)
            if "compute_capability" not in card and (known := _capability(card)):
                card["compute_capability"] = known


def _complete_torch(torch: dict[str, Any]) -> None:
    if torch.keys() & {"cuda", "hip", "xpu"}:
        return
    tag = str(torch.get("version", "")).partition("+")[2]
    if cuda := re.fullmatch(r"cu(\d{2})(\d)", tag):
        torch["cuda"] = f"{cuda[1]}.{cuda[2]}"
    elif rocm := re.fullmatch(r"rocm([\d.]+)", tag):
        torch["hip"] = rocm[1]
    elif tag == "xpu":
        torch["xpu"] = "unknown"


def _capability(card: dict[str, Any]) -> str | None:
    from onecard.machine.naming import row

    name, memory = card.get("name"), card.get("memory_total")
    found = row(str(name), memory if isinstance(memory, int) else None) if name else None
    return found.compute_capability if found is not None and parts(found.compute_capability or "") else None
