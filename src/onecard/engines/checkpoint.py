"""Checkpoints that are whole or not there: the state of a training run on disk, last and best.

A checkpoint is a payload and a small JSON beside it. The JSON is written last, by rename, and holds the payload's size
and CRC: a payload without it was interrupted and does not count, a payload that does not match it is corrupt and
is refused. The parent process reads the JSON alone (the step to resume at) and needs no torch for that.

    checkpoints/step-00000120.pt     what torch.save wrote
    checkpoints/step-00000120.json   {"step": 120, "bytes": ..., "crc32": ..., "settings": {...}, "figures": {...}}
"""

import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, NoRoom
from onecard.core.units import show_size

FOLDER = "checkpoints"
_KEEP = 2
"""checkpoints kept beside the best one: if the disk damages the last, the one before it is still there"""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the JSON beside a payload says."""

    step: int
    payload: str
    """file name in the same folder"""
    bytes: int
    crc32: int
    settings: dict[str, Any]
    figures: dict[str, float] = {}
    """validation_loss and the like at this step"""


def save(folder: Path, step: int, state: Any, settings: dict[str, Any], figures: dict[str, float]) -> Checkpoint:
    """Write a checkpoint of a run, then drop what is no longer needed. Raises NoRoom; the earlier ones stay whole.

    folder: the run's own. state: anything that torch.save takes (tensors, numbers, dicts of these).
    """
    import torch

    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    target = place / f"step-{step:08d}.pt"
    part = target.with_suffix(".part")
    try:
        torch.save(state, part)
        _flush(part)
    except (OSError, RuntimeError) as error:
        # torch's zip writer reports a full disk as RuntimeError; any other RuntimeError is not ours to explain.
        part.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and "write" not in str(error).lower():
            raise
        raise _no_room(place, f"the checkpoint of step {step} could not be written: {error}") from None
    made = Checkpoint(
        step=step,
        payload=target.name,
        bytes=part.stat().st_size,
        crc32=_crc(part),
        settings=settings,
        figures=figures,
    )
    part.replace(target)
    write_whole(target.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(made)))
    _drop_old(place)
    return made


def seal(folder: Path, step: int, payload: Path, settings: dict[str, Any], figures: dict[str, float]) -> Checkpoint:
    """Declare a folder that a library wrote into checkpoints/ (a Trainer's checkpoint-120) a whole checkpoint.

    From here on it counts; without this it is what an interrupted save left behind.
    """
    for file in _files(payload):
        _flush(file)
    made = Checkpoint(
        step=step, payload=payload.name, bytes=_size(payload), crc32=_crc(payload), settings=settings, figures=figures
    )
    write_whole(payload.parent / f"step-{step:08d}.json", msgspec.json.format(msgspec.json.encode(made)))
    _drop_old(payload.parent)
    return made


def newest_whole(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is undamaged, for a library that loads it itself. Raises BadFile where all are damaged."""
    damaged = []
    for found in reversed(listed(folder)):
        why = damage(folder, found)
        if not why:
            return found
        damaged.append(f"step {found.step}: {why}")
    if damaged:
        raise _all_damaged(folder, damaged)
    return None


def load(folder: Path, *, device: str = "cpu", step: int | None = None) -> tuple[Checkpoint, Any] | None:
    """The newest checkpoint that is whole, or the one of a given step, with its state; None where there is none yet.

    A damaged one is passed over for the one before it. Raises BadFile where all are damaged: starting again from
    zero would silently throw a run away.
    """
    import torch

    damaged: list[str] = []
    for found in reversed([c for c in listed(folder) if step is None or c.step == step]):
        why = damage(folder, found)
        if not why:
            try:
                return found, torch.load(folder / FOLDER / found.payload, map_location=device, weights_only=True)
            except Exception as error:
                # Whatever torch or pickle makes of foreign bytes: for the user it is one thing, a file that is not ours.
                why = f"{type(error).__name__}: {str(error)[:200]}"
        damaged.append(f"step {found.step}: {why}")
    if damaged:
        raise _all_damaged(folder, damaged)
    return None


def _all_damaged(folder: Path, damaged: list[str]) -> BadFile:
    return BadFile(
        f"no checkpoint in {folder / FOLDER} can be read",
        why="; ".join(damaged),
        next="start a new run, or put back the files from a backup",
    )


def listed(folder: Path) -> list[Checkpoint]:
    """The finished checkpoints of a run, oldest first, as their JSON files tell. No payload is opened."""
    found = []
    for file in sorted((folder / FOLDER).glob("step-*.json")):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=Checkpoint))
        except (msgspec.DecodeError, OSError):
            # Not whole, so not a checkpoint; load() says so if nothing else is left.
            found.append(
                Checkpoint(step=_step_of(file), payload=file.with_suffix(".pt").name, bytes=-1, crc32=0, settings={})
            )
    return found


def passed_over(folder: Path, made: Checkpoint) -> str:
    """What to tell where newer checkpoints than the one that was loaded are damaged; "" where none is."""
    newer = [f"step {c.step}: {damage(folder, c)}" for c in listed(folder) if c.step > made.step]
    return f"damaged checkpoint ({'; '.join(newer)}): going on from step {made.step}" if newer else ""


def last(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose payload has the right size; quick, so that a parent may ask after every crash."""
    for found in reversed(listed(folder)):
        payload = folder / FOLDER / found.payload
        if payload.exists() and _size(payload) == found.bytes:
            return found
    return None


def best(folder: Path) -> Checkpoint | None:
    """The checkpoint with the lowest validation loss among those that are kept."""
    found = [c for c in listed(folder) if "validation_loss" in c.figures]
    return min(found, key=lambda c: (c.figures["validation_loss"], -c.step), default=None)


def damage(folder: Path, checkpoint: Checkpoint) -> str:
    """What is wrong with a checkpoint's payload; "" where it is whole."""
    payload = folder / FOLDER / checkpoint.payload
    if checkpoint.bytes < 0:
        return "its JSON file is damaged"
    if not payload.exists():
        return f"{payload.name} is missing"
    size = _size(payload)
    if size != checkpoint.bytes:
        return f"{payload.name} has {size} bytes instead of {checkpoint.bytes}"
    if _crc(payload) != checkpoint.crc32:
        return f"{payload.name} has changed since it was written (CRC)"
    return ""


def check_disk(folder: Path, state_bytes: float, extra_bytes: float = 0.0) -> None:
    """Before the first step: is there room for last, previous, best and the one being written, and for the exports?

    Raises NoRoom. A run that dies of a full disk after hours is the dearest way to find out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    need = (_KEEP + 2) * state_bytes + extra_bytes
    free = shutil.disk_usage(folder).free
    if free < need:
        raise NoRoom(
            f"{show_size(need)} of disk are needed in {folder}, {show_size(free)} are free",
            why=f"{_KEEP + 2} checkpoints of {show_size(state_bytes)} and {show_size(extra_bytes)} of exports",
            next="free some disk, or set ONECARD_HOME to a folder on a larger one",
        )


def write_whole(target: Path, content: bytes) -> None:
    """A file that is there as a whole or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(content)
        _flush(part)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _no_room(target.parent, f"{target.name} could not be written: {error}") from None
    part.replace(target)


def _drop_old(place: Path) -> None:
    kept = listed(place.parent)
    top = best(place.parent)
    spare = [c for c in kept[:-_KEEP] if top is None or c.step != top.step]
    for old in spare:
        # The JSON first: from then on the payload is no checkpoint any more, wherever a kill falls.
        (place / f"step-{old.step:08d}.json").unlink(missing_ok=True)
        if (place / old.payload).is_dir():
            shutil.rmtree(place / old.payload)
        (place / old.payload).unlink(missing_ok=True)
    for leftover in place.glob("*.part"):
        leftover.unlink(missing_ok=True)


def _no_room(place: Path, what: str) -> NoRoom:
    free = shutil.disk_usage(place).free
    return NoRoom(
        what,
        why=f"{show_size(free)} are free on that disk",
        next="free some disk and resume the run: it continues from its last whole checkpoint",
    )


def _flush(file: Path) -> None:
    """Down to the disk, not only to the system's cache: a power cut must not leave a whole JSON beside a torn payload."""
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _files(payload: Path) -> list[Path]:
    return [payload] if payload.is_file() else sorted(f for f in payload.rglob("*") if f.is_file())


def _size(payload: Path) -> int:
    return sum(f.stat().st_size for f in _files(payload))


def _crc(payload: Path) -> int:
    """CRC over a file, or over all files of a folder in the order of their names."""
    value = 0
    for file in _files(payload):
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                value = zlib.crc32(block, value)
    return value


def _step_of(file: Path) -> int:
    digits = file.stem.removeprefix("step-")
    return int(digits) if digits.isdigit() else 0
