"""Published rates of LLM inference -> settings of chat, a card, and what onecard predicts for them.

Each source measured in its own way; what a row means is written down here once: llama-bench's "tg 512" generates 512 tokens
into an empty cache, Qwen's pages divide the answer's tokens by the time of the whole call, prompt included, AutoAWQ counts all
sequences of a batch.
"""

import re
from functools import cache

import msgspec
from published_cells import count, gguf_quant, lengths, switches, torch_quant
from published_frame import HERE, Mapped, Row, Unmapped, read, value_of
from published_names import cards_of, device_of, engine_of, model

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
    past: int = 0
    """tokens in the cache before the prompt"""
    flash: bool | None = None
    micro_batch: int = 512
    gpu_layers: int | None = None
    kv_type: str = "f16"
    rate: str = "decode"
    """decode, prefill, whole: answer tokens over the time of the whole call, or total: prompt and answer over it"""


def rate_of(row: Row) -> str:
    """What a row's metric counts: decode, prefill, whole or total. Raises Unmapped."""
    metric, notes = row["metric"].lower(), f"{row['notes']} {row['metric']}".lower()
    if re.search(
        r"includ\w+ (the )?prompt|prompt (and|\+) (generated|answer|output)|input ?\+ ?output|total_(tokens?_)?(through|speed)",
        notes,
    ):
        return "total"
    if re.search(r"prompt|prefill|^pp|input|ttft|first_token", metric):
        return "prefill"
    if re.search(r"decode|generation|eval|^tg|output|token|tpot|itl|latency|speed|throughput|rate", metric):
        return "decode"
    raise Unmapped(f"metric {row['metric'] or '(empty)'} of LLM inference is not known")


def case(row: Row) -> Case:
    """What a row measured. Raises Unmapped."""
    engine, rate = engine_of(row), rate_of(row)
    if engine == "llama.cpp":
        found = _llama_cpp(row, rate)
    elif engine in ("vllm", "sglang"):
        found = _server(row, rate, engine)
    elif engine == "transformers":
        found = _transformers(row, rate)
    else:
        found = _other(row, rate, engine)
    return msgspec.structs.replace(found, batch=count(row["batch"]))


def _other(row: Row, rate: str, engine: str) -> Case:
    software, sizes = row["software"].lower(), lengths(row["context_or_resolution"])
    if engine == "autoawq":
        return Case(
            engine=engine, version="0" if "gemv" in software else "1", quant="awq-int4", prompt=sizes.prompt or 64,
            output=sizes.output or 64, rate=rate,
        )  # fmt: skip
    if engine == "exllamav2":
        return Case(
            engine=engine, version="", quant=_quant(row), prompt=sizes.prompt or (512 if rate == "prefill" else 1),
            output=sizes.output or 256, rate=rate,
        )  # fmt: skip
    if engine in ("exllama", "gptq-for-llama"):
        return msgspec.structs.replace(_exllama(row, rate), engine=engine)
    prompt, output = sizes.prompt or (512 if rate == "prefill" else 8), sizes.output or 256
    if engine == "gpt-fast":
        return Case(engine=engine, version="", quant=_quant(row), prompt=prompt, output=sizes.output or 200, rate=rate)
    if engine == "litgpt":
        return Case(engine=engine, version="", quant=_quant(row), prompt=prompt, output=output, rate="whole")
    return Case(engine=engine, version="", quant="mlc-int4", prompt=prompt, output=output, rate=rate)


_ON = ("1", "on", "true", "yes", "enabled")


def _llama_cpp(row: Row, rate: str) -> Case:
    context, flags = row["context_or_resolution"], switches(row)
    build = re.search(r"\((\d{3,5})\)|build:? ?(\d{3,5})\b|\bb(\d{4,5})\b", row["software"])
    commit = next((b for c, b in BUILD_OF_COMMIT.items() if c in row["software"]), BUILD_OF_YEAR.get(row["year"], ""))
    sizes = lengths(context)
    one = Case(
        engine="llama.cpp", version=f"b{next(g for g in build.groups() if g)}" if build else commit,
        quant=gguf_quant(row["precision"]), past=sizes.past, rate="total" if sizes.both else rate,
        flash=flags["fa"] in _ON if "fa" in flags else None, micro_batch=int(flags.get("ub", 512)),
        gpu_layers=int(flags["ngl"]) if "ngl" in flags else None, kv_type=flags.get("ctk", "f16"),
    )  # fmt: skip
    if sizes.both:
        return msgspec.structs.replace(one, prompt=sizes.prompt or 1, output=sizes.output or 1)
    if sizes.prompt and sizes.output and not re.match(r"pp ?\d+ ?/ ?tg", context.lower()):
        return msgspec.structs.replace(one, prompt=sizes.prompt, output=sizes.output)
    if re.match(r"(pp|tg)", context.lower()):  # llama-bench: one of the two from an empty cache
        tokens = sizes.prompt if rate == "prefill" else sizes.output
        tokens = tokens or sizes.prompt or sizes.output or 128
        return msgspec.structs.replace(
            one, prompt=tokens if rate == "prefill" else 0, output=128 if rate == "prefill" else tokens
        )
    if "n_ctx" in context:
        # main with a full context of 512 forgets half of it and goes on: the cache holds 384 on average.
        prompt = re.search(r"prompt (\d+) tokens", row["notes"])
        size = int(prompt[1]) if prompt else 384
        return msgspec.structs.replace(one, prompt=size if rate == "prefill" else 384, output=1)
    if found := re.search(r"(\d+) tokens", context):
        return msgspec.structs.replace(one, prompt=8, output=max(1, int(found[1])))
    prompt_tokens = sizes.prompt or (512 if rate == "prefill" else 8)
    return msgspec.structs.replace(one, prompt=prompt_tokens, output=sizes.output or 128)


def _server(row: Row, rate: str, engine: str) -> Case:
    version = re.search(r"(?:vllm|sglang)\D{0,3}([\d.]+)", row["software"].lower())
    prompt, output = _in_out(row)
    whole = rate == "decode" and (
        lengths(row["context_or_resolution"]).prompt is not None or "throughput" in row["metric"]
    )
    return Case(
        engine=engine, version=version[1] if version else "", quant=_quant(row), prompt=prompt, output=output,
        rate="whole" if whole else rate,
    )  # fmt: skip


def _transformers(row: Row, rate: str) -> Case:
    software, notes = row["software"].lower(), row["notes"].lower()
    version = re.search(r"transformers\D{0,3}(\d+\.\d+)", software)
    old = {"2023": "4.30", "2024": "4.37", "2025": "4.51", "2026": "4.57"}.get(row["year"], "")
    prompt, output = _in_out(row)
    flash = False if "without fa2" in notes else True if "fa2" in software or "with fa2" in notes else None
    return Case(
        engine="transformers", version=version[1] if version else old, quant=_quant(row), prompt=prompt, output=output,
        flash=flash, rate="whole" if rate == "decode" else rate,
    )  # fmt: skip


def _in_out(row: Row) -> tuple[int, int]:
    context = row["context_or_resolution"]
    sizes = lengths(context)
    if sizes.prompt is not None and sizes.output is not None:
        return max(1, sizes.prompt), max(1, sizes.output)
    if sizes.output is not None:
        return 8, max(1, sizes.output)
    if found := re.fullmatch(r"(?:in=)?(\d+)", context.strip()):
        return max(1, int(found[1])), 2048
    return sizes.prompt or 16, 200


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
    software = row["software"].lower()
    return torch_quant(row["precision"], row["model"], "exl2-4.0bpw" if "exllamav" in software else "nf4")


@cache
def _cost(name: str, c: Case) -> Cost:
    work = chat_work(
        model(name), engine=c.engine, quant=c.quant, version=c.version, kv_type=c.kv_type, batch=c.batch,
        prompt_tokens=c.prompt, output_tokens=c.output, past_tokens=c.past, micro_batch=c.micro_batch, flash=c.flash,
        gpu_layers=c.gpu_layers,
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
    if c.rate == "total":
        return estimate.total_seconds.rate(float((c.prompt + c.output) * c.batch))
    return estimate.rates[f"{c.rate}_tokens_per_s"]


RATES = ("tok/s", "tokens/s", "token/s", "t/s", "tps", "tokens/sec", "tok/sec", "tokens/second", "tokens per second")
SECONDS = {
    "s": 1.0,
    "sec": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "ms/token": 1e-3,
    "ms/tok": 1e-3,
    "s/token": 1.0,
    "us/token": 1e-6,
}


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
    """One row of llm_inference in speed.csv, in tokens per second; times of a prompt or of a token in seconds."""
    unit = row["unit"].lower().strip()
    if unit not in RATES and unit not in SECONDS and unit not in ("requests/s", "req/s"):
        raise Unmapped(f"unit {row['unit'] or '(empty)'}")
    one = case(row)
    device = several(device_of(row), cards_of(row), one.engine)
    target = (
        (PREFILL if one.rate == "prefill" else DECODE if one.batch == 1 and one.rate == "decode" else "")
        if one.engine == "llama.cpp"
        else OTHERS
    )
    measured, predicted = value_of(row), predict(one, row["model"], device)
    if unit in SECONDS:
        tokens = one.prompt * one.batch if one.rate == "prefill" else one.batch
        measured, target = measured * SECONDS[unit], ""
        predicted = Range(tokens / predicted.high, tokens / predicted.likely, tokens / predicted.low)
    elif unit not in RATES:
        tokens = (one.prompt + one.output) if one.rate == "total" else one.output
        predicted, target = predicted * (1 / tokens), ""
    return Mapped(measured=measured, predicted=predicted, engine=one.engine, quantity="speed", target=target)


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


@cache
def _own() -> frozenset[tuple[str, str, str]]:
    """(source, card, model) of the project's own files: what the constants can have been read from."""
    folder = HERE / "measurements"
    rows = [*read(folder), *read(folder / "newer")]
    return frozenset(
        (r["source"], r["gpu"], r["model"]) for r in rows if r.file == "speed" and r["task"] == "llm_inference"
    )


def split(row: Row) -> str:
    """Rows of some cards, and of some models of the single-card sources, shaped no constant; nor did rows of other files."""
    held = row["gpu"] in HELD_CARDS or row["model"].startswith(HELD_MODELS)
    return "held-out" if held or (row["source"], row["gpu"], row["model"]) not in _own() else "fit"


MAPPERS = {("speed", "llm_inference"): speed}
SPLITS = {("speed", "llm_inference"): split}
