"""Records -> Factors: what the runs on this very device say about its speed, within bounds.

Each Record holds what was predicted and what was measured. The seconds of a phase that took r times as long as predicted
call for a Factor of r; with n Records the Factor is their mean in logarithms, shrunk towards 1 as if PRIOR Records had
agreed with the prediction:

    factor = exp( sum(ln r_i) / (n + PRIOR) ),  within 0.5 .. 2

so that one Record moves a prediction most of the way but not all of it. Records carry predictions that Factors of their own
time may have bent already; the plan inside names them, and they are taken out again before anything is learned.
Its range is what held the Records themselves, never narrower than FLOOR (the noise of a repeated run on one machine).
`held_out` says what a calibration is worth: fitted on the older Records, judged on the newer ones.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from onecard.core.record import Record
from onecard.predict.factors import HIGHEST, LOWEST, Factor, Factors, kind_of

PRIOR = 0.5
"""Records' worth of trust in the uncorrected prediction"""

FLOOR = 0.08
"""half-width that no number of Records goes below: clocks, temperature and other processes differ between two runs"""

WIDEST = 0.6

RUNTIMES = ("llama.cpp", "vllm", "sglang", "exllama", "exllamav2")
"""engines that are a runtime of their own (Cost.runtime); all other work runs in torch"""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of one Record."""

    runtime: str
    phase: str
    format: str
    ratio: float
    """measured seconds / uncorrected predicted seconds"""
    started: str


def samples(records: Iterable[Record], device: str) -> list[Sample]:
    """Phases of the Records of a device, by name, that ended well and were observed; oldest first."""
    found = []
    for record in records:
        if record.outcome != "ok" or _text(record.plan.get("device"), "name") != device:
            continue
        if record.kind == "bench":
            continue  # its proofs are Records of their own, with their plans; a server that it measured may be anywhere
        settings = record.plan.get("settings") or {}
        engine = str(settings.get("engine") or "")
        runtime = engine if engine in RUNTIMES else "torch"
        applied = _mapping(_mapping(record.plan.get("estimate")).get("factors"))
        for m in record.measurements:
            phase = m.name.partition("_")[0]
            if not m.name.endswith("_per_s") or m.predicted is None or not m.measured or m.predicted[1] <= 0:
                continue
            bent = float(applied.get(phase, 1.0))
            ratio = m.predicted[1] / m.measured * bent
            if LOWEST / 2 < ratio < HIGHEST * 2:
                found.append(
                    Sample(
                        runtime=runtime, phase=phase, format=kind_of(str(settings.get("quant") or "")), ratio=ratio,
                        started=record.started,
                    )
                )  # fmt: skip
    return sorted(found, key=lambda s: s.started)


def calibrate(records: Iterable[Record], device: str | None = None) -> Factors:
    """Factors of a device (by default the newest Record's) from its Records; without any, Factors without entries."""
    known = list(records)
    if device is None:
        newest = max(known, key=lambda r: r.started, default=None)
        device = _text(newest.plan.get("device"), "name") if newest else ""
    found = samples(known, device)
    groups: dict[str, list[Sample]] = {}
    for s in found:
        groups.setdefault(f"{s.runtime}/{s.phase}", []).append(s)
        if s.format:
            groups.setdefault(f"{s.runtime}/{s.phase}/{s.format}", []).append(s)
    entries = {key: fit([s.ratio for s in group]) for key, group in groups.items()}
    return Factors(device=device, entries=entries, records=len({s.started for s in found}))


def fit(ratios: Sequence[float]) -> Factor:
    """One Factor from measured / predicted seconds."""
    logs = [math.log(r) for r in ratios]
    mean = sum(logs) / (len(logs) + PRIOR)
    value = min(HIGHEST, max(LOWEST, math.exp(mean)))
    beyond = sorted(abs(x - math.log(value)) for x in logs)
    # With few Records the largest deviation says little: widen as for a t-distribution of so many samples.
    seen = beyond[min(len(beyond) - 1, math.ceil(0.9 * len(beyond)) - 1)] * (1 + 1 / len(beyond))
    return Factor(
        value=value, spread=min(WIDEST, max(FLOOR * (1 + 1 / len(ratios)), math.exp(seen) - 1)), records=len(ratios)
    )


def held_out(records: Iterable[Record], device: str) -> dict[str, float] | None:
    """Median |error| of the newer half before and after a calibration on the older half; None with fewer than four phases."""
    found = samples(records, device)
    if len(found) < 4:
        return None
    old, new = found[: len(found) // 2], found[len(found) // 2 :]
    by_phase: dict[str, list[float]] = {}
    for s in old:
        by_phase.setdefault(f"{s.runtime}/{s.phase}", []).append(s.ratio)
    factors = {key: fit(ratios).value for key, ratios in by_phase.items()}
    return {
        "rows": float(len(new)),
        "before": statistics.median(abs(1 / s.ratio - 1) for s in new),
        "after": statistics.median(abs(factors.get(f"{s.runtime}/{s.phase}", 1.0) / s.ratio - 1) for s in new),
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, key: str) -> str:
    return str(_mapping(value).get(key, ""))
