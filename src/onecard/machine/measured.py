"""What was measured on this machine once and is remembered: memory bandwidth and rates of arithmetic of its CPU.

One small JSON file per CPU in the cache folder, keyed by name, family and usable cores, so that a virtual machine that
moves to other hardware is measured again. Anything unreadable counts as not measured.
"""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from onecard.core import places
from onecard.machine.cpu import Processor
from onecard.machine.pace import Pace

SCHEMA = 1
QUIET = 0.6
"""load per processor below which a measurement counts; our own work before it leaves about 0.3 behind"""


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes/s and operations/s; None or missing: not measured."""

    processor: str
    cores: int
    bandwidth: float | None = None
    bandwidth_how: str = ""
    flops: dict[str, float] = {}
    flops_how: str = ""
    when: str = ""
    """ISO 8601 date"""
    hashes: float | None = None
    """bytes/s that all cores hash: the yardstick of machine/pace.py"""
    pace: Pace | None = None
    """how much of this it reached when it was looked at last"""
    load: float | None = None
    """load average per processor when it was measured"""
    schema: int = SCHEMA

    @property
    def disturbed(self) -> bool:
        """Other work took its share: the numbers are a lower bound, to be measured again."""
        return self.load is not None and self.load > QUIET


def file_of(cpu: Processor) -> Path:
    """Where the numbers of this CPU are kept."""
    key = hashlib.sha256(f"{cpu.name}|{cpu.family}|{cpu.logical}".encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", cpu.name.lower()).strip("-")[:40]
    return places.cache() / "machine" / f"{slug}-{key}.json"


def recall(cpu: Processor) -> Measured | None:
    """What was measured before on this very CPU, or None."""
    try:
        found = msgspec.json.decode(file_of(cpu).read_bytes(), type=Measured)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return found if found.schema == SCHEMA and (found.bandwidth is None or found.bandwidth > 0) else None


def better(a: Measured, b: Measured) -> Measured:
    """The larger of each number: whatever disturbs a measurement only makes it smaller. The rest is the later one's, b's."""
    first = a if (a.bandwidth or 0) > (b.bandwidth or 0) else b
    flops = {name: max(a.flops.get(name, 0.0), b.flops.get(name, 0.0)) for name in {**a.flops, **b.flops}}
    hashes = max(a.hashes or 0.0, b.hashes or 0.0) or None
    return msgspec.structs.replace(
        b, bandwidth=first.bandwidth, bandwidth_how=first.bandwidth_how, flops=flops, hashes=hashes
    )


def remember(cpu: Processor, measured: Measured) -> None:
    """Write atomically; a cache that cannot be written is no error."""
    target = file_of(cpu)
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(measured)))
        part.replace(target)
