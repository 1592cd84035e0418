"""Rates of arithmetic of the CPU: measured in a child where torch or numpy is installed, else a guess that says so.

The guess: cores x clock x operations per cycle of the widest SIMD unit. It is a ceiling that libraries reach half of,
and clocks under load are not told, so its range is wide.
"""

import os
import sys
from typing import NamedTuple

from onecard.core.require import has
from onecard.machine.cpu import Processor
from onecard.machine.patience import ask

SECONDS = 4.0
"""for the products themselves; importing torch comes on top, once"""
PATIENCE = 120.0

PER_CYCLE = {"avx512f": 64.0, "fma": 32.0, "avx": 16.0, "neon": 16.0}
"""fp32 operations per cycle and core, most to least: two 512-bit FMA units (16 lanes x 2 x 2), two 256-bit FMA units,
256-bit add and multiply without FMA, two 128-bit FMA units. https://en.wikipedia.org/wiki/FLOPS, table by micro-architecture"""

REACHED = 0.55
"""share of that ceiling that matrix libraries reach on many cores, with clocks lowered by wide vectors: a guess"""


class Arithmetic(NamedTuple):
    """Operations per second by type, and how they were found."""

    flops: dict[str, float]
    how: str


def measurable() -> bool:
    """Whether a library that multiplies matrices is installed."""
    return has("torch") or has("numpy")


def measure(threads: int) -> Arithmetic | None:
    """Matrix products in a child. None: neither torch nor numpy is installed, or the child failed."""
    if not measurable():
        return None
    command = [sys.executable, "-m", "onecard.machine.matmul", str(threads), str(SECONDS)]
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        answer = ask(command, PATIENCE)
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before
    if answer is None or answer.code != 0:
        return None
    import json

    try:
        told = json.loads(answer.text.strip().splitlines()[-1])
        flops = {str(k): float(v) for k, v in told["flops"].items() if float(v) > 0}
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None
    how = f"measured: {told.get('library')} {told.get('version')}, {threads} threads, 1024 x 1024 x 1024"
    return Arithmetic(flops, how) if flops else None


def guess(cpu: Processor) -> Arithmetic:
    """cores x clock x operations per cycle x REACHED; bf16 and int8 where the CPU has units for them."""
    unit = next((u for u in PER_CYCLE if u in cpu.sets), "")
    per_cycle, clock = PER_CYCLE.get(unit, 8.0), cpu.clock or 2.5e9
    fp32 = cpu.cores * clock * per_cycle * REACHED
    flops = {"fp32": fp32}
    # A dot-product instruction does four int8 (VNNI, Arm dot product) or two bf16 multiplications in the lane of one fp32.
    if {"avx512_vnni", "avx_vnni", "dotprod", "i8mm"} & set(cpu.sets):
        flops["int8"] = 2 * fp32
    flops["bf16"] = 2 * fp32 if {"avx512_bf16", "bf16"} & set(cpu.sets) else 0.5 * fp32
    # A tile unit (AMX) does 2,048 bf16 or 4,096 int8 operations per cycle; about a sixth of that comes out of libraries.
    if "amx_bf16" in cpu.sets:
        flops["bf16"] = 5 * fp32
    if "amx_int8" in cpu.sets:
        flops["int8"] = 10 * fp32
    known = "" if cpu.clock else " (clock unknown: 2.5 GHz assumed)"
    how = f"guess: {cpu.cores} cores x {clock / 1e9:.1f} GHz x {per_cycle:.0f} per cycle ({unit or 'SSE'}) x {REACHED}{known}"
    return Arithmetic(flops, how)
