"""How long tracing takes, after imports, and that the law of depth gives what the whole model gives.

A 7B model is traced with 2, 4 and 6 layers; the line through them gives the bytes asked for at 32 layers. The whole model is
traced too, outside the clock, to hold the law against it.
"""

import logging
import time
from pathlib import Path
from typing import Any

import nets_times

from onecard.core.units import MiB
from onecard.predict.laws import law
from onecard.predict.replay import replay
from onecard.tracing.profiles import profile
from onecard.tracing.session import trace_steps

CARD = "sm_89"
DEPTHS, DEPTH = (2, 4, 6), 32
BARS = {
    "GPT-2 124M step": 2.0,
    "7B LoRA step, three depths and the law": 10.0,
    "SDXL UNet denoise step": 5.0,
    "SDXL UNet LoRA step": 15.0,
}


def _seconds(make: Any) -> tuple[float, Any]:
    began = time.process_time()
    events = trace_steps(make, profile(CARD)).storages.events()
    return time.process_time() - began, replay.__wrapped__(events)


def table(folder: Path) -> dict[str, Any]:
    """One row a step, in seconds of one CPU (a trace has one thread): the machine may be busy with other things."""
    logging.disable(logging.WARNING)
    import diffusers
    import peft
    import transformers

    # what a step imports when it is built, so that it is not timed
    libraries_used = (transformers.GPT2LMHeadModel, transformers.LlamaForCausalLM, diffusers.UNet2DConditionModel)
    assert all(libraries_used)
    libraries = f"transformers {transformers.__version__}, peft {peft.__version__}, diffusers {diffusers.__version__}"
    facts = []
    for name, make in (
        ("GPT-2 124M step", nets_times.gpt2),
        ("SDXL UNet denoise step", nets_times.sdxl_denoise),
        ("SDXL UNet LoRA step", nets_times.sdxl_lora),
    ):
        seconds, run = _seconds(make)
        facts.append({"step": name, "seconds": seconds, "allocated": run.peak_allocated, "reserved": run.peak_reserved})
    taken, points = 0.0, {}
    for layers in DEPTHS:
        seconds, run = _seconds(lambda layers=layers: nets_times.lora_7b(layers))
        taken += seconds
        points[layers] = run.peak_requested
    line = law(points)
    whole_seconds, whole = _seconds(nets_times.lora_7b)
    facts.append(
        {
            "step": "7B LoRA step, three depths and the law", "seconds": taken, "whole_seconds": whole_seconds,
            "law": None if line is None else line.at(DEPTH) / whole.peak_requested - 1, "allocated": whole.peak_allocated,
            "reserved": whole.peak_reserved,
        }
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    rows = [
        [
            f["step"],
            f"{f['seconds']:.1f}",
            f"{BARS[f['step']]:.0f}",
            f"{f['allocated'] / MiB:,.0f}",
            f"{f['reserved'] / MiB:,.0f}",
        ]
        for f in facts
    ]
    last = facts[-1]
    told = (
        "not linear"
        if last["law"] is None
        else f"{last['law']:+.3%} against all {DEPTH} layers ({last['whole_seconds']:.1f} s)"
    )
    return {
        "title": "Time of a trace, two steps each",
        "columns": ["step", "CPU seconds", "at most", "allocated MiB", "reserved MiB"],
        "rows": rows,
        "notes": [f"law of depth: {told}", libraries],
        "bar": "seconds as above, the law within 0.1 %",
        "holds": all(f["seconds"] <= BARS[f["step"]] for f in facts)
        and last["law"] is not None
        and abs(last["law"]) < 1e-3,
        "facts": facts,
    }
