"""Published rates of LLM inference -> settings of chat, a card, and what onecard predicts for them.

Each source measured in its own way; what a row means is written down here once: llama-bench's "tg 512" generates 512 tokens
into an empty cache, Qwen's pages divide the answer's tokens by the time of the whole call, prompt included, AutoAWQ counts all
sequences of a batch.
"""

import re
from functools import cache

import msgspec
from published_frame import Mapped, Row, Unmapped
from published_names import device_of, model

from onecard.core.cost import Cost, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.parts.chat_work import chat_work
from onecard.parts.generations import generation
from onecard.predict.price import price

DECODE = "decode, llama.cpp, batch 1"
PREFILL = "prefill, llama.cpp"
OTHERS = "transformers, vLLM, SGLang, ExLlama, AWQ rates"

BUILD_OF_YEAR = {"2022": "b1", "2023": "b1600", "2024": "b2800", "2025": "b5000", "2026": "b7500"}
"""a build of llama.cpp of that year's middle, where a row names none"""


BUILD_OF_COMMIT = {"8e672ef": "b1550"}
"""where a row names a commit only: the build that llama-bench printed with it (llama.cpp discussion 4167)"""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row as settings of chat."""

    engine: str
    version: str
    quant: str
    batch: int = 1
    prompt: int = 512
    output: int = 128
    flash: bool | None = None
    rate: str = "decode"
    """decode, prefill, or whole: answer tokens over the time of the whole call"""


def case(row: Row) -> Case:
    """What a row measured. Raises Unmapped."""
    software = row["software"].lower()
    rate = "prefill" if row["metric"] == "prompt_speed" else "decode"
    batch = int(row["batch"] or 1)
    context = row["context_or_resolution"]
    for name, found in (("llama.cpp", _llama_cpp), ("vllm", _qwen), ("sglang", _qwen), ("transformers", _transformers)):
        if name in software:
            return msgspec.structs.replace(found(row, rate), batch=batch)
    if "autoawq" in software:
        sizes = [int(n) for n in re.findall(r"\d+", context)]
        return Case(
            engine="autoawq", version="0" if "gemv" in software else "1", quant="awq-int4", batch=batch,
            prompt=sizes[0], output=sizes[1], rate=rate,
        )  # fmt: skip
    if "exllamav2" in software:
        return Case(engine="exllamav2", version="", quant=_quant(row), prompt=1, output=256, rate=rate)
    if "exllama" in software:
        return _exllama(row, rate)
    if "gptq-for-llama" in software:
        return msgspec.structs.replace(_exllama(row, rate), engine="gptq-for-llama")
    if "torchao" in software:
        return Case(engine="gpt-fast", version="", quant=_quant(row), prompt=8, output=200, rate=rate)
    if "litgpt" in software or "lit-gpt" in software:
        return Case(engine="litgpt", version="", quant=_quant(row), prompt=8, output=256, rate="whole")
    if "mlc" in software:
        return Case(engine="mlc", version="", quant="mlc-int4", prompt=8, output=256, rate=rate)
    raise Unmapped(f"engine {row['software']} is not known")


def _llama_cpp(row: Row, rate: str) -> Case:
    context, notes = row["context_or_resolution"], row["notes"]
    build = re.search(r"\((\d{3,5})\)|build (\d{3,5})\b|\bb(\d{4,5})\b", row["software"])
    commit = next((b for c, b in BUILD_OF_COMMIT.items() if c in row["software"]), BUILD_OF_YEAR.get(row["year"], ""))
    version = f"b{next(g for g in build.groups() if g)}" if build else commit
    quant = row["precision"].lower()
    one = Case(engine="llama.cpp", version=version, quant="q4_0" if quant == "int4" else quant, rate=rate)
    if found := re.fullmatch(r"pp ?(\d+) ?/ ?tg ?(\d+)", context):
        return msgspec.structs.replace(one, prompt=int(found[1]) if rate == "prefill" else 0, output=int(found[2]))
    if found := re.match(r"(pp|tg) ?(\d+)", context):
        tokens = int(found[2])
        return msgspec.structs.replace(one, prompt=tokens if found[1] == "pp" else 0, output=tokens)
    if "n_ctx" in context:
        # main with a full context of 512 forgets half of it and goes on: the cache holds 384 on average.
        prompt = re.search(r"prompt (\d+) tokens", notes)
        size = int(prompt[1]) if prompt else 384
        return msgspec.structs.replace(one, prompt=size if rate == "prefill" else 384, output=1)
    if found := re.search(r"(\d+) tokens", context):
        return msgspec.structs.replace(one, prompt=8, output=int(found[1]))
    return msgspec.structs.replace(one, prompt=512 if rate == "prefill" else 8)


def _qwen(row: Row, rate: str) -> Case:
    software = row["software"].lower()
    engine = "vllm" if "vllm" in software else "sglang"
    version = re.search(r"(?:vllm|sglang)\D{0,3}([\d.]+)", software)
    sizes = _in_out(row)
    whole = "in=" in row["context_or_resolution"]
    return Case(
        engine=engine, version=version[1] if version else "", quant=_quant(row), prompt=sizes[0], output=sizes[1],
        rate="whole" if whole and rate == "decode" else rate,
    )  # fmt: skip


def _transformers(row: Row, rate: str) -> Case:
    software, notes = row["software"].lower(), row["notes"].lower()
    version = re.search(r"transformers\D{0,3}(\d+\.\d+)", software)
    old = {"2023": "4.30", "2024": "4.37"}.get(row["year"], "")
    sizes = _in_out(row)
    flash = False if "without fa2" in notes else True if "fa2" in software or "with fa2" in notes else None
    return Case(
        engine="transformers", version=version[1] if version else old, quant=_quant(row), prompt=sizes[0], output=sizes[1],
        flash=flash, rate="whole" if rate == "decode" else rate,
    )  # fmt: skip


def _in_out(row: Row) -> tuple[int, int]:
    context = row["context_or_resolution"]
    if found := re.search(r"in(?:put)?=(\d+).*out(?:put)?=(\d+)", context):
        return int(found[1]), int(found[2])
    if found := re.search(r"generate (\d+)", context):
        return 8, int(found[1])
    if found := re.fullmatch(r"(?:in=)?(\d+)", context.strip()):
        return int(found[1]), 2048
    return 16, 200


def _exllama(row: Row, rate: str) -> Case:
    length = re.search(r"seq=(\d+)", row["context_or_resolution"])
    size = int(length[1]) if length else 256
    fast = row["software"].lower() == "exllama" or "mlc" in row["source"]
    old = "torch 2.1 nightly" in row["software"] or ("May 2023" in row["source"] and not fast)
    # The decode figure stands beside a prompt that nearly fills the sequence: tokens come at its end.
    return Case(
        engine="exllama", version="0" if old else "1", quant=_quant(row),
        prompt=size if rate == "prefill" else max(8, size - 128), output=128, rate=rate,
    )  # fmt: skip


def _quant(row: Row) -> str:
    text = row["precision"].lower().split(" ")[0].replace("-true", "")
    if "8-bit" in row["precision"].lower() or text == "llm.int8":
        return "int8"
    if "fp32 compute" in row["precision"]:
        return f"{text}-fp32"
    if found := re.match(r"exl2 ([\d.]+)bpw", row["precision"].lower()):
        return f"exl2-{found[1]}bpw"
    if text.startswith("int8"):
        return "int8wo" if "weight" in row["precision"] else "int8-dynamic"
    if text.startswith(("int4wo", "autoquant-int4")):
        return "int4wo"
    return {"int4": "gptq-int4", "fp16": "fp16"}.get(text, text)


@cache
def _cost(name: str, c: Case) -> Cost:
    work = chat_work(
        model(name), engine=c.engine, quant=c.quant, version=c.version, batch=c.batch, prompt_tokens=c.prompt,
        output_tokens=c.output, flash=c.flash,
    )  # fmt: skip
    tokens = float(max(1, c.prompt) * c.batch)
    return Cost(
        phases=(
            Phase(name="prefill", operations=work.prefill, unit="tokens", units=tokens),
            Phase(name="decode", operations=work.decode, unit="tokens", units=float(c.batch), repeat=float(c.output)),
        ),
        runtime=c.engine,
    )  # fmt: skip


def predict(c: Case, name: str, device: Device) -> Range:
    """The rate that the row would print."""
    estimate = price(_cost(name, c), device)
    if c.rate == "whole":
        return estimate.total_seconds.rate(float(c.output * c.batch))
    return estimate.rates[f"{c.rate}_tokens_per_s"]


SEQUENTIAL = ("llama.cpp", "transformers", "litgpt", "exllama", "exllamav2")
"""engines that give each card some layers: one card works at a time, so n cards have the speed of one and the memory of n"""
ALL_REDUCE = 0.8
"""share of n cards' bandwidth and arithmetic left by two all-reduces a layer over PCIe or NVLink; a guess, few rows"""


def several(device: Device, count: int, engine: str) -> Device:
    """Equal cards that share one model, as one Device."""
    if count == 1:
        return device
    changes: dict[str, object] = {"memory_total": device.memory_total * count, "name": f"{count} x {device.name}"}
    if engine not in SEQUENTIAL:
        share = count * ALL_REDUCE
        changes |= {"bandwidth": device.bandwidth * share, "flops": {u: r * share for u, r in device.flops.items()}}
        changes |= {"multiprocessors": round((device.multiprocessors or 0) * share) or None}
        changes |= {"power": device.power * share if device.power else None}
    return msgspec.structs.replace(device, **changes)


def speed(row: Row) -> Mapped:
    """One row of llm_inference in speed.csv."""
    if row["unit"] not in ("tok/s", "tokens/s", "t/s"):
        raise Unmapped(f"unit {row['unit']}")
    one = case(row)
    device = several(device_of(row), int(row["n_gpu"] or 1), one.engine)
    target = (
        (PREFILL if one.rate == "prefill" else DECODE if one.batch == 1 else "")
        if one.engine == "llama.cpp"
        else OTHERS
    )
    return Mapped(
        measured=float(row["value"]), predicted=predict(one, row["model"], device), engine=one.engine, quantity="speed",
        target=target,
    )  # fmt: skip


__all__ = ["Case", "case", "generation", "predict", "split"]

HELD_CARDS = (
    "RTX 3080",
    "RTX 5000 Ada",
    "RTX 4080",
    "RTX 3090 Ti",
    "Apple M3 Max 40-core GPU",
    "Apple M1 Pro 14-core GPU",
)
HELD_MODELS = ("Qwen2.5-14B", "Qwen2.5-1.5B", "Qwen2-1.5B", "Qwen1.5-1.8B", "Falcon-7B", "DeepSeek-33B", "Qwen-14B")


def split(row: Row) -> str:
    """Rows of some cards, and of some models of the single-card sources, shaped no constant."""
    held = row["gpu"] in HELD_CARDS or row["model"].startswith(HELD_MODELS)
    return "held-out" if held else "fit"


MAPPERS = {("speed", "llm_inference"): speed}
SPLITS = {("speed", "llm_inference"): split}
