"""Published training rows against traces: peak memory, and which batch sizes run.

Every prediction here is a traced step of the code that was measured, or (GPTQ bases) what `plan finetune` counts. No constant is
fitted to a row; but which of two forward passes of GPTQ is counted was chosen with the errors of its rows in view, so those count as
"fit" and the others as held out. What was measured differs: litgpt prints the peak of bytes allocated; the BERT page
reads the whole card by NVML, context included; timm's script tells which batch ran and which did not.
"""

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import training_cases
from published_frame import Mapped, Mapper, Row, Splitter, Unmapped
from published_names import device_of

from onecard.core.cost import Operation, Phase
from onecard.core.ranges import Range
from onecard.core.units import GiB, MiB
from onecard.predict.peak import SPREAD
from onecard.predict.price import price
from onecard.predict.time import time_phase
from onecard.workloads import finetune

MEMORY, SPEED, BRACKETS = "training, peak memory", "fine-tuning, speed", "training, which batch runs"
EXAMPLES = "BERT, ResNet-50 of NVIDIA, speed"

EAGER_CONTEXT = 1343 * MiB
"""CUDA context with all kernels loaded at once (CUDA below 11.7), as the BERT page shows it for PyTorch of 2022; later
versions load kernels when they are first used and hold a third of it"""

A100_CONTEXT = 520 * MiB
"""CUDA 11.8 loads kernels lazily (tracing/profiles.py)"""

UNITS = {"GB": 1e9, "GiB": GiB, "MiB": MiB, "MB": 1e6}
ALLOCATED_SPREAD = 0.02
"""half-width for peaks of old code on new libraries: small helpers of operators came and went"""


@cache
def profiles() -> dict[str, Any]:
    """Everything that make_profiles.py traced."""
    path = Path(__file__).parent / "profiles" / "training.json.gz"
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else {}


def profile(case: training_cases.Case) -> dict[str, Any]:
    """One of them. Raises Unmapped where it was not traced."""
    if case.key not in profiles():
        raise Unmapped("not traced: run make profiles")
    entry: dict[str, Any] = profiles()[case.key]
    return entry


def finetuning_memory(row: Row) -> Mapped:
    """litgpt: max_memory_allocated; whether a row without one ran."""
    if "QwenLM" in row["source"]:
        return _qwen_memory(row)
    if "torchtune" in row["source"]:
        raise Unmapped("torchtune: flags, or the lengths of its samples, are not in the row")
    if "litgpt" not in row["source"]:
        raise Unmapped("model, batch or method is not in the row")
    traced = profile(training_cases.litgpt(row))
    if row["metric"] == "fit":
        fits = traced["smallest_capacity"] <= device_of(row).memory_total - 500 * MiB
        return Mapped(
            measured=float(row["value"]),
            predicted=Range.exact(float(fits)),
            engine="litgpt",
            quantity="fit",
            target=BRACKETS,
        )
    return Mapped(
        measured=float(row["value"]) * UNITS[row["unit"]],
        predicted=Range.within(traced["allocated"], ALLOCATED_SPREAD, ALLOCATED_SPREAD),
        engine="litgpt", quantity="memory", target=MEMORY,
    )  # fmt: skip


def _qwen_memory(row: Row) -> Mapped:
    """Qwen's page counts 2**30 and does not say what it read: between bytes allocated and the whole card. No target."""
    traced = profile(training_cases.qwen(row))
    card = traced["reserved"] + A100_CONTEXT
    return Mapped(
        measured=float(row["value"]) * GiB, predicted=Range(traced["allocated"], card, card * 1.1),
        engine="Qwen finetune.py", quantity="memory",
    )  # fmt: skip


def bert_memory(row: Row) -> Mapped:
    """The whole card: reserved and the context."""
    traced = profile(training_cases.bert(row))
    spread = SPREAD + ALLOCATED_SPREAD
    return Mapped(
        measured=float(row["value"]) * UNITS[row["unit"]],
        predicted=Range.within(traced["reserved"], spread, spread) + Range.exact(EAGER_CONTEXT),
        engine="transformers", quantity="memory", target=MEMORY,
    )  # fmt: skip


def timm_bracket(row: Row) -> Mapped:
    """Right if the batch that ran fits and the next larger one, which did not run, does not."""
    batch = int(float(row["value"]))
    room = device_of(row).memory_total - EAGER_CONTEXT  # a benchmark machine without a desktop
    if profile(training_cases.timm(row))["smallest_capacity"] > room:
        verdict, measured = 0.0, 1.0  # a false "no"
    else:
        above = training_cases.larger(batch)
        fits = above is not None and profile(training_cases.timm(row, above))["smallest_capacity"] <= room
        verdict, measured = 1.0, 0.0 if fits else 1.0  # 0: a false "fits"
    return Mapped(
        measured=measured, predicted=Range.exact(verdict), engine="timm, torch 1.12", quantity="fit", target=BRACKETS
    )


def step_seconds(row: Row, case: training_cases.Case, batch: int) -> Range:
    """Seconds of one step of the row's batch on its card. An optimizer that steps once in several counts so often."""
    card = device_of(row)
    entry = profile(case)
    times = batch / case.arguments.get("batch", batch)
    accumulated = re.search(r"accumulation (\d+)", row["notes"])
    total = Range.exact(0)
    for name, operations in entry["phases"].items():
        rows = [scaled(o, times) for o in msgspec.convert(operations, list[Operation])]
        seconds = time_phase(Phase(name=name, operations=tuple(rows)), card, "torch").seconds
        total += seconds * (1 / int(accumulated[1]) if accumulated and name == "optimizer" else 1.0)
    return total


def scaled(operation: Operation, times: float) -> Operation:
    """The same calls on so many times the samples: more rows, not more calls."""
    if times == 1:
        return operation
    shape = operation.shape and (max(1, round(operation.shape[0] * times)), *operation.shape[1:])
    return msgspec.structs.replace(
        operation,
        flops=operation.flops * times,
        read=operation.read * times,
        written=operation.written * times,
        shape=shape,
    )


def training_rate(row: Row) -> Mapped:
    """Samples per second of a step."""
    if "timm" in row["source"]:
        case = training_cases.timm(row)
    elif "transformers docs" in row["source"]:
        case = training_cases.bert(row)
    else:
        case = training_cases.example(row)
    batch = int(float(row["batch"]))
    return Mapped(
        measured=float(row["value"]),
        predicted=step_seconds(row, case, batch).rate(batch),
        engine="eager PyTorch",
        quantity="speed",
        target=SPEED if "transformers docs" in row["source"] else EXAMPLES if case.module == "nets_examples" else "",
    )


def image_rate(row: Row) -> Mapped:
    """Images per second of a forward pass."""
    if "timm" not in row["source"]:
        return training_rate(row)
    if "dynamo" in row["source"]:
        raise Unmapped("compiled: a trace sees the eager program")
    batch = int(float(row["batch"]))
    seconds = step_seconds(row, training_cases.timm_inference(row), batch)
    return Mapped(measured=float(row["value"]), predicted=seconds.rate(batch), engine="eager PyTorch", quantity="speed")


def finetuning_seconds(row: Row) -> Mapped:
    """Seconds of an optimizer step of eight micro-batches (Qwen): LoRA as traced, GPTQ bases as `plan finetune` counts them."""
    if "QwenLM" not in row["source"]:
        raise Unmapped("the lengths of its samples, or its flags, are not in the row")
    if "Q-LoRA" in row["software"]:
        seconds, engine = counted_seconds(row, "gptq"), "plan finetune --method gptq"
    else:
        seconds, engine = step_seconds(row, training_cases.qwen(row), 1) * 8, "Qwen finetune.py"
    return Mapped(measured=float(row["value"]), predicted=seconds, engine=engine, quantity="speed", target=SPEED)


def counted_seconds(row: Row, method: str) -> Range:
    """What `plan finetune` answers for a row of Qwen's page: rank 64 on all matrices, checkpoints, one sequence at a time."""
    sequence = int(row["context_or_resolution"].removeprefix("seq="))
    settings = finetune.Settings(
        model=row["model"].lower(),
        method=method,
        rank=64,
        batch=8,
        micro_batch=1,
        sequence=sequence,
        checkpointing=True,
    )
    return price(finetune.cost(settings), device_of(row)).time["train"].seconds


def denoising_rate(row: Row) -> Mapped:
    """Denoising steps per second."""
    case = training_cases.denoising(row)
    seconds = step_seconds(row, case, case.arguments["batch"])
    return Mapped(measured=float(row["value"]), predicted=seconds.rate(1), engine="eager PyTorch", quantity="speed")


def _held_out(row: Row) -> str:
    return "held-out"


def _by_base(row: Row) -> str:
    return "fit" if "Q-LoRA" in row["software"] else "held-out"


def _by_card(row: Row) -> str:
    """The RTX 3090's rows, and Stable Diffusion 1.5 on A100 and V100, shaped the shares of predict/eager.py
    (benchmarks/fit_eager.py); of other cards only the matrix units' share was read."""
    return (
        "fit"
        if "3090" in row["gpu"] or (row["gpu"].startswith(("A100", "V100")) and "1.5" in row["model"])
        else "held-out"
    )


MAPPERS: dict[tuple[str, str], Mapper] = {
    ("memory", "llm_finetuning"): finetuning_memory,
    ("memory", "nlp_finetuning"): bert_memory,
    ("memory", "cnn_training"): timm_bracket,
    ("speed", "nlp_finetuning"): training_rate,
    ("speed", "llm_finetuning"): finetuning_seconds,
    ("speed", "cnn_training"): training_rate,
    ("speed", "cnn_inference"): image_rate,
    ("speed", "diffusion_inference"): denoising_rate,
    ("speed", "training"): training_rate,
    ("speed", "nlp_inference"): training_rate,
}
SPLITS: dict[tuple[str, str], Splitter] = dict.fromkeys(MAPPERS, _held_out) | {
    ("speed", "llm_finetuning"): _by_base,
    ("speed", "cnn_training"): _by_card,
    ("speed", "cnn_inference"): _by_card,
    ("speed", "diffusion_inference"): _by_card,
}
