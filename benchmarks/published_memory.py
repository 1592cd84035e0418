"""Published memory of LLM inference -> settings of chat, and what onecard predicts for the quantity that was measured.

What each source counts is written down here once: llama.cpp's log prints buffers without the CUDA context, Qwen's pages, litgpt
and AutoAWQ the peak of torch's allocator, a "fit" row whether the process ran on a card at all.
"""

import re

from published_cells import count, gguf_quant, lengths, switches, torch_quant
from published_frame import Mapped, Row, Unmapped, value_of
from published_names import cards_of, device_of, engine_of, model

from onecard.core.cost import Cost
from onecard.core.model import Model
from onecard.core.ranges import Range
from onecard.core.units import MiB
from onecard.parts.generations import generation
from onecard.predict.memory import memory
from onecard.workloads.chat import Settings, cost_of

BUFFERS = "llama.cpp buffers"
PEAKS = "transformers, GPTQ, AWQ, bnb peak memory"

UNITS = {"mib": MiB, "gib": 2**30, "kib": 2**10, "mb": MiB, "kb": 2**10, "bytes": 1, "b": 1}


def bytes_of(row: Row) -> float:
    """The measured value in bytes, by the unit that the source's code uses. Raises Unmapped."""
    value, unit, status = value_of(row), row["unit"].lower(), row["unit_status"]
    if unit in UNITS:
        return value * UNITS[unit]
    if unit not in ("gb", "g"):
        raise Unmapped(f"unit {row['unit'] or '(empty)'}")
    # torchao's own "model size" of Llama-2-7B, 13.21 GB, is its 2-byte weights without the embedding in units of 1e9.
    if ("1e9" in status and "exact" in status) or "torchao" in row["software"]:
        return value * 1e9
    return value * 2**30


def map_memory_row(row: Row) -> Mapped:
    """One row. Raises Unmapped."""
    shape = model(row["model"])
    engine = engine_of(row)
    if engine == "llama.cpp":
        return _llama_cpp(row, shape)
    settings = _torch(row, engine)
    if row["metric"] == "fit":
        return _fit(row, shape, settings)
    cost = cost_of(shape, settings)
    exact = "assumed" not in row["unit_status"] and "could be" not in row["unit_status"]
    counted = f"{row['metric']} {row['notes']} {row['unit_status']}".lower()
    if re.search(r"kv.*tokens|tokens.*kv|gpu_blocks", row["metric"].lower()):
        return _pages(row, cost)
    if engine in ("vllm", "sglang") or re.search(
        r"nvidia-smi|nvml|whole process|incl\w* (the )?(cuda )?context", counted
    ):
        return Mapped(
            measured=bytes_of(row), predicted=memory(cost, device_of(row)).peak_bytes, engine=engine, quantity="memory"
        )
    whole = max((p.memory() for p in cost.phases), key=lambda r: r.likely)
    if "reserved" in counted:
        whole = memory(cost, device_of(row)).reserved or whole
    # Over several cards a page sums the peaks; each card has a workspace of its own, which is small.
    return Mapped(
        measured=bytes_of(row), predicted=whole, engine=engine, quantity="memory",
        target=PEAKS if exact and cards_of(row) == 1 else "",
    )  # fmt: skip


def _pages(row: Row, cost: Cost) -> Mapped:
    """Tokens of cache that a server's share of the card leaves room for."""
    cache, token = memory(cost, device_of(row)).parts["kv_cache"], cost.extra.get("kv_bytes_per_token")
    if not isinstance(token, float) and not isinstance(token, int):
        raise Unmapped(f"{row['metric']}: this engine keeps no pages of cache")
    tokens = 16 if "blocks" in row["metric"].lower() else 1
    return Mapped(
        measured=value_of(row), predicted=cache * (1 / float(token) / tokens), engine=row["software"], quantity="memory"
    )


_LLAMA_METRICS: dict[str, tuple[str, ...]] = {
    "model_buffer": ("weights",), "weights": ("weights",), "model_size": ("weights",), "kv_cache": ("kv_cache",),
    "kv_buffer": ("kv_cache",), "compute_buffer": ("workspace",), "total_gpu_buffers": (), "gpu_buffers": (),
}  # fmt: skip
"""metric -> names of the parts that it counts; () for all on the device"""
_PROCESS = ("peak_gpu_memory", "gpu_memory", "vram", "memory_used", "used_memory")
"""metrics of the whole process, CUDA context included"""


def _llama_cpp(row: Row, shape: Model) -> Mapped:
    build = re.search(r"build:? ?(\d+)|\((\d{3,5})\)|\bb(\d{4,5})\b", row["software"])
    version = (
        f"b{next(g for g in build.groups() if g)}"
        if build
        else {"2025": "b5000", "2026": "b7500"}.get(row["year"], "b2800")
    )
    flags = switches(row)
    flash = (
        flags["fa"] in ("1", "on", "true", "yes", "enabled")
        if "fa" in flags
        else generation("llama.cpp", version).flash
    )
    settings = Settings(
        model=shape.name, quant=gguf_quant(row["precision"]), context=_context(row), flash_attention=flash,
        engine_version=version, n_gpu_layers=int(flags.get("ngl", shape.layers + 1)), batch=count(row["batch"]),
        micro_batch=int(flags.get("ub", 512)), kv_type=flags.get("ctk"),
    )  # fmt: skip
    if row["metric"] == "fit":
        return _fit(row, shape, settings)
    cost, name = cost_of(shape, settings), row["metric"].lower()
    if name in _PROCESS:
        return Mapped(
            measured=bytes_of(row),
            predicted=memory(cost, device_of(row)).peak_bytes,
            engine="llama.cpp",
            quantity="memory",
        )
    host = name.startswith(("host_", "cpu_"))
    name = name.removeprefix("host_").removeprefix("cpu_")
    if name not in _LLAMA_METRICS:
        raise Unmapped(f"metric {row['metric'] or '(empty)'} of llama.cpp's memory is not known")
    predicted = Range(0, 0, 0)
    for part in cost.phases[0].parts:
        here = part.place == ("host" if host else "device") and part.only != "cpu"
        if here and (not _LLAMA_METRICS[name] or part.name in _LLAMA_METRICS[name]):
            several = cards_of(row) if part.name == "workspace" else 1  # each card computes in a buffer of its own
            predicted = predicted + part.bytes * several
    if predicted.likely <= 0:
        raise Unmapped(f"nothing of {row['metric']} is on this side")
    one = cards_of(row) == 1 and not host
    return Mapped(
        measured=bytes_of(row),
        predicted=predicted,
        engine="llama.cpp",
        quantity="memory",
        target=BUFFERS if one else "",
    )


def _context(row: Row) -> int:
    """Tokens that llama.cpp's cache was made for."""
    text = row["context_or_resolution"]
    if found := re.search(r"n_ctx ?= ?(\d+)", text):
        return int(found[1])
    if "llama-bench" in row["software"]:
        return 8192  # the longest prompt of that source's benchmark
    sizes = lengths(text)
    if sizes.prompt or sizes.output:
        # llama-bench makes a cache for the test; it is a multiple of 256 long.
        return -(-((sizes.prompt or 0) + (sizes.output or 0) + sizes.past) // 256) * 256
    numbers = re.findall(r"\d{3,}", re.sub(r"(\d+)k\b", lambda k: str(int(k[1]) * 1024), text.lower().replace(",", "")))
    return int(numbers[0]) if numbers else 512


def _fit(row: Row, shape: Model, settings: Settings) -> Mapped:
    device = device_of(row)
    found = memory(cost_of(shape, settings), device)
    room = found.usable_bytes * cards_of(row)
    # A plan says "fits" only where the high end does; what is merely likely is called tight.
    low = 1.0 if found.peak_bytes.high <= room else 0.0
    high = 1.0 if found.peak_bytes.low <= room else 0.0
    return Mapped(
        measured=value_of(row),
        predicted=Range(low, low, high),
        engine=settings.engine,
        quantity="fit",
        target="fits",
    )


def _torch(row: Row, engine: str) -> Settings:
    software, text = row["software"].lower(), row["context_or_resolution"].lower()
    sizes = lengths(text)
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    quant, batch = _quant(row, engine), count(row["batch"])
    name = row["model"]
    if engine == "autoawq":
        prompt, output = sizes.prompt or 64, sizes.output or 64
        return Settings(
            model=name, engine=engine, quant="awq-int4", batch=batch, prompt_tokens=prompt, output_tokens=output,
            context=prompt + output, engine_version="gemv" if "gemv" in software else "gemm",
        )  # fmt: skip
    if engine in ("gptq-for-llama", "exllama", "exllamav2"):
        size = next((n for n in numbers if n > 100), 2048)
        one = "--benchmark" in text  # GPTQ-for-LLaMa's own benchmark feeds token by token
        return Settings(model=name, engine=engine, quant=quant, prompt_tokens=1 if one else size, context=size)
    if engine in ("gpt-fast", "mlc"):
        return Settings(model=name, engine=engine, quant=quant, prompt_tokens=8, context=256)
    if engine == "litgpt":
        output = sizes.output or (256 if "256" in text else 50)
        return Settings(model=name, engine=engine, quant=quant, prompt_tokens=8, context=8 + output)
    version = re.search(r"(?:transformers|vllm|sglang)\D{0,3}(\d[\d.]*)", software)
    number = version[1] if version else None
    if engine in ("vllm", "sglang"):
        share = re.search(r"(?:mem\w* ?util\w*|gpu_memory_utilization|mem.fraction.static)\D{0,3}(0?\.\d+)", software)
        prompt, output = sizes.prompt or 512, sizes.output or 128
        return Settings(
            model=name, engine="vllm" if engine == "vllm" else "sglang", quant=quant, batch=batch, prompt_tokens=prompt,
            output_tokens=output, context=prompt + output, engine_version=number,
            gpu_memory_utilization=float(share[1]) if share else 0.9 if engine == "vllm" else 0.88,
        )  # fmt: skip
    kept = {"2023": "4.32", "2024": "4.37", "2025": "4.51", "2026": "4.57"}
    if "generate" in text or sizes.prompt is None:
        size = sizes.output or (numbers[0] if numbers else 2048)
        kv = "int8" if "int8 kv" in row["precision"].lower() else "fp16"
        return Settings(
            model=name, engine="transformers", quant=quant, batch=batch, prompt_tokens=1, output_tokens=size, context=size + 1,
            kv_type=kv, engine_version=number or ("4.32" if row["year"] in ("2023", "2024") else kept.get(row["year"], "4.51")),
            attention="flash",
        )  # fmt: skip
    prompt, output = sizes.prompt, sizes.output or 128
    return Settings(
        model=name, engine="transformers", quant=quant, batch=batch, prompt_tokens=max(1, prompt), output_tokens=output,
        context=prompt + output, attention="eager" if "without fa2" in row["notes"].lower() else "flash",
        engine_version=number or ("4.37" if row["year"] in ("2023", "2024") else kept.get(row["year"], "4.51")),
    )  # fmt: skip


def _quant(row: Row, engine: str) -> str:
    """The weight format as parts/torch_weights.py calls it; remarks behind it ("bf16 weights, fp16 kv") fall away."""
    precision = row["precision"].lower().split(" weights")[0]
    for part, name in (
        ("int4wo", "int4wo-64"), ("hqq", "int4wo-64"), ("int8 weight", "int8wo"), ("int8 dynamic", "int8wo"), ("fp32 compute", "gptq-int4"),
    ):  # fmt: skip
        if part in precision:
            return name
    found = torch_quant(precision, row["model"], "mlc-int4" if engine == "mlc" else "nf4")
    return "mlc-int4" if engine == "mlc" and found == "gptq-int4" else found


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
