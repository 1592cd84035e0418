"""Predicted against measured on this machine: every workload that exists, at sizes that a small machine can prove.

    python benchmarks/this_machine.py [--json] [--only NAME]

Each line is a proof (`onecard prove`): the plan is made first, then measured; Records go to the store. Memory within 10 % and
rates inside their ranges are the bar. A machine that is busy with other work gives wrong rates: run it alone.
"""

import argparse
import json
import os
import sys
from typing import Any

import onecard
from onecard import api
from onecard.api import suite
from onecard.core.errors import OnecardError
from onecard.core.record import Record
from onecard.core.units import show_rate, show_size

CHAT = {"quant": "q4_k_m", "context": 2048, "prompt_tokens": 256, "output_tokens": 48}
CASES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chat smollm2-360m q8_0", "chat", {"model": "smollm2-360m", **CHAT, "quant": "q8_0"}),
    ("chat llama-3.2-1b q4_k_m", "chat", {"model": "llama-3.2-1b", **CHAT}),
    ("chat llama-3.2-3b q4_k_m", "chat", {"model": "llama-3.2-3b", **CHAT, "output_tokens": 24}),
    ("chat tinyllama-1.1b bf16, transformers", "chat", {
        "model": "tinyllama-1.1b", "engine": "transformers", "quant": "bf16", "context": 256, "prompt_tokens": 192, "output_tokens": 16,
    }),
    ("pretrain depth 6", "pretrain", {"depth": 6, "micro_batch": 8}),
    ("classify-text", "classify-text", {}),
    ("translate", "translate", {}),
    ("finetune smollm2-135m LoRA", "finetune", {
        "model": "smollm2-135m", "method": "lora", "sequence": 128, "batch": 4, "micro_batch": 4, "checkpointing": False,
    }),
)  # fmt: skip


def cases() -> tuple[tuple[str, str, dict[str, Any]], ...]:
    """Those above, and each workload without one with the settings that its own file names as an example."""
    known = {workload for _, workload, _ in CASES}
    rest = (suite.example(name) for name in api.workloads() if name not in known)
    return (*CASES, *((case.workload, case.workload, case.settings) for case in rest if case is not None))


def lines(name: str, record: Record) -> list[dict[str, Any]]:
    """One line for the peak and one for each rate."""
    found = []
    for m in record.measurements:
        peak = m.name == "memory.peak"
        if m.predicted is None or m.measured is None or not (peak or m.name.endswith("_per_s")):
            continue
        low, likely, high = m.predicted
        holds = abs(m.error or 0) <= 0.1 if peak else low <= m.measured <= high
        found.append(
            {
                "case": name,
                "figure": m.name,
                "unit": m.unit,
                "predicted": [low, likely, high],
                "measured": m.measured,
                "holds": holds,
            }
        )
    return found


def shown(line: dict[str, Any]) -> str:
    """The line as text."""

    def value(v: float) -> str:
        return show_size(v) if line["unit"] == "bytes" else show_rate(v, "/s")

    low, likely, high = line["predicted"]
    figure = line["figure"].removesuffix("_per_s").replace("_", " ").replace("memory.", "")
    error = likely / line["measured"] - 1
    verdict = "holds" if line["holds"] else "missed"
    ends = f"{value(low)} to {value(high)}"
    return f"{line['case']:40} {figure:16} {value(likely):>10} ({ends:24}) {value(line['measured']):>10} {error:+7.1%}  {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", help="cases whose name holds this")
    chosen = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5 * (os.cpu_count() or 1):
        print(f"note: the load is {load:.1f}; rates measured now say little", file=sys.stderr)
    found: list[dict[str, Any]] = []
    if not chosen.json:
        print(f"{'case':40} {'figure':16} {'predicted':>10} {'(range)':26} {'measured':>10} {'error':>7}")
    for name, workload, settings in cases():
        if chosen.only and chosen.only not in name:
            continue
        try:
            record = onecard.prove(workload, **settings)
        except OnecardError as error:
            print(f"{name:40} {error.what}", file=sys.stderr)
            continue
        for line in lines(name, record):
            found.append(line)
            if not chosen.json:
                print(shown(line), flush=True)
        if record.outcome != "ok":
            print(f"{name:40} {record.outcome}: {record.error}", file=sys.stderr)
    if chosen.json:
        print(json.dumps(found))
    return 0 if all(line["holds"] for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
