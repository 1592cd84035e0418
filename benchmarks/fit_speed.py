"""Fits the constants of predict/kernels.py to published rates, one family of kernels at a time, and says how well they carry over.

    python benchmarks/fit_speed.py llama.cpp-cuda          fit on the "fit" rows, leave each card out in turn
    python benchmarks/fit_speed.py llama.cpp-cuda-prefill --by source     leave each source out instead
    python benchmarks/fit_speed.py --list

Coordinate descent on the mean of |ln(likely / measured)| (clipped at 0.35, so that a broken row pulls no constant), each constant
within bounds that its physical meaning allows. It prints the constants, their errors in sample, on each card or model left out, on
the held-out split, and the half-width that holds 90 % of the left-out rows. It writes nothing: constants are copied by hand
into kernels.py, rounded, after a look at whether they make sense.
"""

import argparse
import math
import statistics
from pathlib import Path

import msgspec
import published_frame as frame
import published_speed as speed
from published_names import device_of

from onecard.core.device import Device
from onecard.predict import kernels

Constant = tuple[str, str, str, float, float]
"""table (silicon or software), row, field, low, high"""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Constants that are fitted together, and the rows that determine them."""

    constants: tuple[Constant, ...]
    generations: tuple[str, ...]
    kinds: tuple[str, ...] = ("cuda",)
    rates: tuple[str, ...] = ("decode", "prefill", "whole")
    by: str = "gpu"
    """what is left out in turn: gpu, model or source"""


def _software(row: str, *fields: tuple[str, float, float]) -> tuple[Constant, ...]:
    return tuple(("software", row, name, low, high) for name, low, high in fields)


def _silicon(row: str, *fields: tuple[str, float, float]) -> tuple[Constant, ...]:
    return tuple(("silicon", row, name, low, high) for name, low, high in fields)


LATENCY, WALK, SHARE = ("latency", 0.5e-6, 2e-5), ("walk", 0.0, 2.0), (0.05, 1.2)

_SERVER = (
    LATENCY, ("step", 0.0, 5e-3), ("stream", 0.5, 1.1), ("flight_quantized", 0.5, 4.0), ("cache", 0.05, 1.0),
    ("attention", 0.1, 1.0), ("compute", 0.8, 1.6), ("quantized_compute", 0.3, 1.6),
)  # fmt: skip

_EAGER = (
    ("host", 5e-6, 60e-6), ("copy", 0.1, 1.0), ("expand", 0.1, 1.0), ("cache", 0.1, 1.0), ("flight_quantized", 0.1, 4.0),
    ("compute", 0.8, 1.6),
)  # fmt: skip

_AWQ = (
    ("quantized_compute", 0.02, 1.0),
    ("eager_cache", 0.1, 1.0),
    ("step_prefill", 0.0, 0.1),
    ("flight_quantized", 0.3, 4.0),
)

FAMILIES: dict[str, Family] = {
    "llama.cpp-cuda-decode": Family(
        generations=("llama.cpp-2024", "llama.cpp-2023"),
        rates=("decode",),
        constants=(
            *_silicon("ampere", ("dram", 0.7, 0.96)),
            *_silicon("ada", ("dram", 0.7, 0.96)),
            *_silicon("ampere-hbm", ("flight", 2.0, 30.0), ("gap", 0.5, 3.0)),
            *_silicon("hopper", ("flight", 2.0, 30.0), ("gap", 0.5, 3.0)),
            *_software("llama.cpp-2024", LATENCY, WALK, ("flight", 0.5, 1.5)),
            *_software("llama.cpp-2023", LATENCY, WALK, ("flight", 0.5, 1.5), ("flight_quantized", 0.5, 1.5)),
        ),
    ),
    "llama.cpp-cuda-prefill": Family(
        generations=("llama.cpp-2024", "llama.cpp-2023"),
        rates=("prefill",),
        constants=(
            *_silicon("ampere", ("tensor", 0.3, 1.0), ("joule", 0.1e12, 1e12)),
            *_silicon("ada", ("tensor", 0.3, 1.0), ("joule", 0.1e12, 1e12)),
            *_silicon("ampere-hbm", ("tensor", 0.2, 1.0), ("joule", 0.1e12, 2e12)),
            *_silicon("hopper", ("tensor", 0.1, 1.0), ("joule", 0.1e12, 2e12)),
            *_software("llama.cpp-2024", ("attention", 0.05, 1.0), ("elementwise", 0.2, 2.0), ("dequantize", 0.2, 1.5)),
            *_software("llama.cpp-2023", ("compute", 0.5, 1.1), ("elementwise", 0.1, 2.0), ("dequantize", 0.2, 1.5)),
        ),
    ),
    "llama.cpp-metal-decode": Family(
        generations=("llama.cpp-2024", "llama.cpp-2023"),
        kinds=("metal",),
        rates=("decode",),
        constants=(
            *_silicon("apple", ("dram", 0.6, 0.95), ("decode", 3.0, 40.0)),
            *_silicon("apple-m1-max", ("dram", 0.6, 0.95), ("decode", 3.0, 40.0)),
            *_silicon("apple-ultra", ("dram", 0.6, 0.95), ("decode", 3.0, 40.0), ("gap", 1.0, 4.0)),
            *_software("llama.cpp@metal", LATENCY, WALK, ("cache", 0.1, 1.0)),
        ),
    ),
    "llama.cpp-metal-prefill": Family(
        generations=("llama.cpp-2024", "llama.cpp-2023"),
        kinds=("metal",),
        rates=("prefill",),
        constants=(
            *_silicon("apple", ("tensor", 0.3, 1.0)),
            *_silicon("apple-m1-max", ("tensor", 0.3, 1.0)),
            *_silicon("apple-ultra", ("tensor", 0.3, 1.0)),
            *_software(
                "llama.cpp@metal", ("quantized_compute", 0.5, 1.2), ("attention", 0.1, 2.0), ("elementwise", 0.2, 2.0)
            ),
        ),
    ),
    "transformers": Family(
        generations=("transformers-4.30", "transformers-4.37", "transformers-4.38", "transformers-4.46"),
        by="model",
        constants=(
            *_software("transformers-4.30", ("host", 5e-6, 60e-6)),
            *_software("transformers-4.37", *_EAGER, ("eager_cache", 0.05, 1.0)),
            *_software("transformers-4.38", *_EAGER),
            *_software("transformers-4.46", *_EAGER),
        ),
    ),
    "vllm": Family(
        generations=("vllm-0.4", "vllm"),
        by="model",
        constants=(
            *_software("vllm", *_SERVER),
            *_software("vllm-0.4", *_SERVER),
            *_software("vllm-0.4-eager", ("host", 5e-6, 60e-6), ("cache", 0.05, 1.0), ("flight_quantized", 0.5, 4.0)),
        ),
    ),
    "exllama": Family(
        generations=("exllama-0", "exllama", "exllamav2"),
        constants=(
            *_software("exllama-0", LATENCY, ("quantized_compute", 0.1, 1.0), ("eager_cache", 0.1, 1.0)),
            *_software("exllama", LATENCY, ("compute", 0.5, 1.6), ("eager_cache", 0.1, 1.0)),
            *_software("exllamav2", LATENCY, ("flight_quantized", 0.3, 4.0)),
        ),
    ),
    "autoawq": Family(
        generations=("autoawq", "autoawq-gemv"),
        by="model",
        constants=(
            *_software("autoawq", LATENCY, *_AWQ),
            *_software("autoawq-gemv", LATENCY, *_AWQ, ("row", 0.0, 1.0)),
        ),
    ),
    "litgpt": Family(generations=("litgpt",), by="model", constants=_software("litgpt", ("host", 5e-6, 60e-6))),
    "gptq-for-llama": Family(
        generations=("gptq-for-llama",),
        by="model",
        constants=_software("gptq-for-llama", ("host", 5e-6, 60e-6), ("quantized_compute", 0.05, 1.0)),
    ),
    "compiled": Family(
        generations=("gpt-fast", "mlc"),
        by="model",
        constants=(*_software("gpt-fast", LATENCY, ("stream", 0.5, 1.1)), *_software("mlc", LATENCY)),
    ),
}


NEIGHBOUR = {
    "ada": "ampere", "ampere": "ada", "ampere-hbm": "hopper", "hopper": "ampere-hbm", "apple-ultra": "apple", "apple-m1-max": "apple",
}  # fmt: skip
"""whose constants stand in for an architecture without a row"""


class Sample(msgspec.Struct, frozen=True):
    """One row, ready to be predicted again and again."""

    case: speed.Case
    name: str
    device: Device
    measured: float
    group: str
    held: bool
    label: str

    def error(self) -> float:
        """ln(likely / measured)"""
        return math.log(speed.predict(self.case, self.name, self.device).likely / self.measured)


def samples(family: Family, folder: Path) -> list[Sample]:
    """The rows of a family."""
    found = []
    for row in frame.read(folder):
        if (row.file, row["task"]) != ("speed", "llm_inference"):
            continue
        try:
            case, device = speed.case(row), device_of(row)
            speed.predict(case, row["model"], device)
        except frame.Unmapped:
            continue
        era = speed.generation(case.engine, case.version).name
        if era in family.generations and device.kind in family.kinds and case.rate in family.rates:
            label = f"{row.line} {row['gpu']} {row['model']} {row['precision']} {row['context_or_resolution']}"
            found.append(
                Sample(
                    case, row["model"], device, float(row["value"]), row[family.by], speed.split(row) != "fit", label
                )
            )
    return found


def value(constant: Constant) -> float:
    table, row, field, _, _ = constant
    return float(getattr(_table(table)[row], field))


def assign(constant: Constant, number: float) -> None:
    table, row, field, _, _ = constant
    rows = _table(table)
    rows[row] = msgspec.structs.replace(rows[row], **{field: number})


def _table(name: str) -> dict:
    return kernels.SILICON if name == "silicon" else kernels.SOFTWARE


def loss(rows: list[Sample]) -> float:
    return statistics.fmean(min(abs(s.error()), 0.35) for s in rows)


def descend(family: Family, rows: list[Sample], rounds: int) -> float:
    """Moves the constants to a lower loss; returns it."""
    best = loss(rows)
    steps = dict.fromkeys(family.constants, 0.15)
    for _ in range(rounds):
        for constant in family.constants:
            _, _, _, low, high = constant
            now = value(constant)
            for factor in (1 + steps[constant], 1 / (1 + steps[constant])):
                tried = min(high, max(low, now * factor if now else high * steps[constant] * 0.1))
                assign(constant, tried)
                found = loss(rows)
                if found < best - 1e-7:
                    best, steps[constant] = found, min(0.5, steps[constant] * 1.3)
                    break
                assign(constant, now)
            else:
                steps[constant] *= 0.5
        if max(steps.values()) < 0.004:
            break
    return best


def spread(errors: list[float]) -> tuple[float, float, float]:
    """Median and 90th percentile of |likely / measured - 1|, and the half-width w with 90 % in 1/(1+w) .. 1+w."""
    shares = sorted(abs(math.exp(e) - 1) for e in errors)
    widths = sorted(math.exp(abs(e)) - 1 for e in errors)
    return shares[len(shares) // 2], shares[int(0.9 * (len(shares) - 1))], widths[int(0.9 * (len(widths) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="?", choices=sorted(FAMILIES))
    parser.add_argument("--data", type=Path, default=frame.HERE / "measurements")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--show", action="store_true", help="each row's error")
    parser.add_argument("--all", action="store_true", help="fit on the held-out split too")
    parser.add_argument("--quick", action="store_true", help="do not leave cards out")
    parser.add_argument("--by", choices=("gpu", "model", "source"), help="what is left out in turn")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list or not given.family:
        print("\n".join(FAMILIES))
        return
    family = FAMILIES[given.family]
    if given.by:
        family = msgspec.structs.replace(family, by=given.by)
    rows = samples(family, given.data)
    fit = [s for s in rows if given.all or not s.held]
    print(f"{given.family}: {len(rows)} rows, {len(fit)} to fit; before {loss(fit):.4f}")
    print(f"after {descend(family, fit, given.rounds):.4f}")
    fitted = {c: value(c) for c in family.constants}
    for constant, number in fitted.items():
        print(f"  {constant[0]:9} {constant[1]:18} {constant[2]:12} {number:.4g}")
    print("in sample      median {:.3f}  p90 {:.3f}  half-width {:.3f}".format(*spread([s.error() for s in fit])))
    if held := [s for s in rows if s.held and not given.all]:
        print("held-out split median {:.3f}  p90 {:.3f}  half-width {:.3f}".format(*spread([s.error() for s in held])))
    if given.show:
        for s in rows:
            print(f"    {s.error():+.3f} {'held' if s.held else '    '} {s.label}")
    if given.quick:
        return
    left_out = []
    for group in sorted({s.group for s in fit}):
        rest = [s for s in fit if s.group != group]
        known = {kernels.silicon_name(s.device) for s in rest}
        for constant, number in fitted.items():
            assign(constant, number)
        for constant in fitted:
            table, row, field, _, _ = constant
            if table == "silicon" and row not in known and row in NEIGHBOUR:
                # Nothing is left of this architecture: its nearest one answers, as it would for a card that nobody measured.
                assign(constant, float(getattr(kernels.SILICON[NEIGHBOUR[row]], field) or number))
        descend(family, rest, 8)
        errors = [s.error() for s in fit if s.group == group]
        left_out += errors
        print(f"  without {group:28} {len(errors):4} rows  median %.3f  p90 %.3f  half-width %.3f" % spread(errors))
    print("left out       median {:.3f}  p90 {:.3f}  half-width {:.3f}".format(*spread(left_out)))


if __name__ == "__main__":
    main()
