"""Published memory of LLM inference -> settings of chat, and what onecard predicts for the quantity that was measured.

What each source counts is written down here once: llama.cpp's log prints buffers without the CUDA context, Qwen's pages, litgpt
and AutoAWQ the peak of torch's allocator, a "fit" row whether the process ran on a card at all.
"""

import re

from published_frame import Mapped, Row, Unmapped
from published_names import device_of, model

from onecard.core.model import Model
from onecard.core.ranges import Range
from onecard.core.units import MiB
from onecard.predict.memory import memory
from onecard.workloads.chat import Settings, cost_of

BUFFERS = "llama.cpp buffers"
PEAKS = "transformers, GPTQ, AWQ, bnb peak memory"

UNITS = {"MiB": MiB, "GiB": 2**30}


def bytes_of(row: Row) -> float:
    """The measured value in bytes, by the unit that the source's code uses."""
    value, unit, status = float(row["value"]), row["unit"], row["unit_status"]
    if unit in UNITS:
        return value * UNITS[unit]
    if unit == "MB":
        return value * MiB
    # torchao's own "model size" of Llama-2-7B, 13.21 GB, is its 2-byte weights without the embedding in units of 1e9.
    if ("1e9" in status and "exact" in status) or "torchao" in row["software"]:
        return value * 1e9
    return value * 2**30


def map_memory_row(row: Row) -> Mapped:
    """One row. Raises Unmapped."""
    if row["n_gpu"] not in ("", "1"):
        raise Unmapped(f"{row['n_gpu']} GPUs: a plan is for one card")
    shape = model(row["model"])
    if "llama.cpp" in row["software"]:
        return _llama_cpp(row, shape)
    settings = _torch(row)
    if row["metric"] == "fit":
        return _fit(row, shape, settings)
    cost = cost_of(shape, settings)
    whole = max((p.memory() for p in cost.phases), key=lambda r: r.likely)
    exact = "assumed" not in row["unit_status"] and "could be" not in row["unit_status"]
    return Mapped(
        measured=bytes_of(row),
        predicted=whole,
        engine=settings.engine,
        quantity="memory",
        target=PEAKS if exact else "",
    )


def _llama_cpp(row: Row, shape: Model) -> Mapped:
    build = re.search(r"build (\d+)", row["software"])
    context = int(found[1]) if (found := re.search(r"n_ctx=(\d+)", row["context_or_resolution"])) else 512
    if "llama-bench" in row["software"]:
        context = 8192  # the longest prompt of that source's benchmark
    settings = Settings(
        model=shape.name, quant=row["precision"], context=context, flash_attention=False,
        engine_version=f"b{build[1]}" if build else "b2800", n_gpu_layers=shape.layers + 1,
    )  # fmt: skip
    if row["metric"] == "fit":
        return _fit(row, shape, settings)
    parts: dict[str, Range] = {}
    for part in cost_of(shape, settings).phases[0].parts:
        if part.place == "device" and part.only != "cpu":
            parts[part.name] = parts.get(part.name, Range(0, 0, 0)) + part.bytes
    names = {"model_buffer": ("weights",), "kv_cache": ("kv_cache",), "compute_buffer": ("workspace",)}
    chosen = names.get(row["metric"], tuple(parts))
    predicted = Range(0, 0, 0)
    for name in chosen:
        predicted = predicted + parts[name]
    return Mapped(measured=bytes_of(row), predicted=predicted, engine="llama.cpp", quantity="memory", target=BUFFERS)


def _fit(row: Row, shape: Model, settings: Settings) -> Mapped:
    found = memory(cost_of(shape, settings), device_of(row))
    room = found.usable_bytes
    # A plan says "fits" only where the high end does; what is merely likely is called tight.
    low = 1.0 if found.peak_bytes.high <= room else 0.0
    high = 1.0 if found.peak_bytes.low <= room else 0.0
    return Mapped(
        measured=float(row["value"]),
        predicted=Range(low, low, high),
        engine=settings.engine,
        quantity="fit",
        target="fits",
    )


def _torch(row: Row) -> Settings:
    software, text = row["software"].lower(), row["context_or_resolution"]
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    precision = row["precision"].lower()
    batch = int(row["batch"] or 1)
    if "autoawq" in software:
        return Settings(
            model=row["model"], engine="autoawq", quant="awq-int4", batch=batch, prompt_tokens=numbers[0],
            output_tokens=numbers[1], context=numbers[0] + numbers[1], engine_version="gemv" if "gemv" in software else "gemm",
        )  # fmt: skip
    if "gptq-for-llama" in software or "exllama" in software:
        size = next((n for n in numbers if n > 100), 2048)
        engine = "exllama" if software.startswith("exllama") else "gptq-for-llama"
        if "--benchmark" in text:  # GPTQ-for-LLaMa's own benchmark feeds token by token
            return Settings(model=row["model"], engine=engine, quant=_quant(precision), prompt_tokens=1, context=size)
        return Settings(model=row["model"], engine=engine, quant=_quant(precision), prompt_tokens=size, context=size)
    if "torchao" in software:
        return Settings(model=row["model"], engine="gpt-fast", quant=_quant(precision), prompt_tokens=8, context=256)
    if "litgpt" in software or "lit-gpt" in software:
        return Settings(
            model=row["model"],
            engine="litgpt",
            quant=_quant(precision),
            prompt_tokens=8,
            context=8 + (256 if "256" in text else 50),
        )
    version = re.search(r"transformers\D?(\d[\d.]*)", software)
    if "generate" in text or "in=" not in text:
        size = numbers[0] if numbers else 2048
        kv = "int8" if "int8 kv" in precision else "fp16"
        return Settings(
            model=row["model"], engine="transformers", quant=_quant(precision.split(" weights")[0]), batch=batch, prompt_tokens=1,
            output_tokens=size, context=size + 1, kv_type=kv, engine_version=version[1] if version else "4.32", attention="flash",
        )  # fmt: skip
    asked = {k: int(v) for k, v in re.findall(r"(in|out)=(\d+)", text)}
    return Settings(
        model=row["model"], engine="transformers", quant=_quant(precision), batch=batch, prompt_tokens=asked["in"],
        output_tokens=asked["out"], context=asked["in"] + asked["out"], attention="flash",
        engine_version=version[1] if version else "4.37",
    )  # fmt: skip


def _quant(precision: str) -> str:
    for part, name in (
        ("int4wo", "int4wo-64"), ("hqq", "int4wo-64"), ("int8 weight", "int8wo"), ("int8 dynamic", "int8wo"), ("llm.int8", "int8"),
    ):  # fmt: skip
        if part in precision:
            return name
    return precision.split()[0]


SHAPED = {
    "Qwen2.5 docs": ("Qwen2.5-7B-Instruct",),
    "Qwen2 docs": ("Qwen2-7B-Instruct",),
    "casper-hansen/AutoAWQ": ("Vicuna-7B", "Mistral-7B", "Llama-2-13B", "TinyLlama-1.1B"),
    "litgpt": ("Falcon-7B", "Llama-2-7B"),
    "XiongjieDai": ("LLaMA-13B", "LLaMA-30B"),
}
"""Rows from which the laws were read: models per source. What else there is, other models and sources, was held out."""


def split(row: Row) -> str:
    """fit or held-out."""
    shaped = next((models for source, models in SHAPED.items() if row["source"].startswith(source)), ())
    return "fit" if row["model"] in shaped else "held-out"


SPLITS = {("memory", "llm_inference"): split}
MAPPERS = {("memory", "llm_inference"): map_memory_row}
