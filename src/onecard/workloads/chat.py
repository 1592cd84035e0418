"""Chat: text from a large language model.

A prompt is read at once (prefill), then tokens come one by one (decode). Weights stay where the engine puts them, keys
and values of every token stay until the end, and each engine has its own work buffers.
"""

import importlib
import shlex
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from onecard.core.cost import Cost, Phase
from onecard.core.errors import BadSetting
from onecard.core.model import Model
from onecard.core.plan import Choice
from onecard.core.workload import Need, Workload
from onecard.engines import chat as engine
from onecard.parts.chat_parts import RESERVING, Phases, llama_phases, torch_phases
from onecard.parts.chat_work import chat_work
from onecard.parts.kv_cache import torch_kv_bytes
from onecard.parts.mixes import mix_of
from onecard.parts.torch_inference import KV_ELEMENT
from onecard.parts.transformer import parameters

Engine = Literal[
    "llama.cpp", "transformers", "vllm", "sglang", "exllama", "exllamav2", "autoawq", "litgpt", "gpt-fast", "mlc",
    "gptq-for-llama",
]  # fmt: skip


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that changes memory, time or quality of a conversation."""

    model: Annotated[str, msgspec.Meta(description="name, hub id, config.json, folder or .gguf file of the model")]
    engine: Annotated[
        Engine, msgspec.Meta(description="who runs it; llama.cpp and transformers are run, the others priced")
    ] = "llama.cpp"
    quant: Annotated[
        str | None,
        msgspec.Meta(
            description="weight format: q2_k to q8_0, iq*, f16, bf16 (llama.cpp); bf16, fp16, int8, nf4, gptq-int4, awq-int4 (others)"
        ),
    ] = None
    context: Annotated[
        int | None, msgspec.Meta(description="tokens that one conversation can hold, prompt and answers")
    ] = None
    kv_type: Annotated[
        str | None, msgspec.Meta(description="format of keys and values: f16, bf16, q8_0, q4_0, fp8")
    ] = None
    n_gpu_layers: Annotated[
        Annotated[int, msgspec.Meta(ge=-1)] | None,
        msgspec.Meta(
            description="layers on the device, counted from the last; one more than the model has puts the output there too; -1: all"
        ),
    ] = None
    batch: Annotated[int, msgspec.Meta(description="conversations side by side", ge=1)] = 1
    prompt_tokens: Annotated[int, msgspec.Meta(description="tokens of the prompt that is read at once", ge=1)] = 512
    output_tokens: Annotated[int, msgspec.Meta(description="tokens of the answer", ge=0)] = 128
    micro_batch: Annotated[
        int, msgspec.Meta(description="tokens of one pass over the model while reading (llama.cpp -ub)", ge=1)
    ] = 512
    flash_attention: Annotated[bool, msgspec.Meta(description="fused attention (llama.cpp -fa)")] = True
    attention: Annotated[Literal["sdpa", "eager", "flash"], msgspec.Meta(description="attention of transformers")] = (
        "sdpa"
    )
    engine_version: Annotated[
        str | None,
        msgspec.Meta(
            description="generation of the engine: a llama.cpp build (b2824) or a release (4.38); none: current"
        ),
    ] = None
    gpu_memory_utilization: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=1)] | None,
        msgspec.Meta(description="share of the card that vLLM and SGLang reserve"),
    ] = None
    draft: Annotated[str | None, msgspec.Meta(description="draft model for speculative decoding")] = None
    images: Annotated[int, msgspec.Meta(description="images in the prompt of a vision model", ge=0)] = 0
    mmap: Annotated[bool, msgspec.Meta(description="map the file instead of reading it into memory (llama.cpp)")] = True
    swa_full: Annotated[
        bool, msgspec.Meta(description="keep the whole context in sliding-window layers too (llama.cpp)")
    ] = False


@lru_cache(maxsize=256)
def model_of(name: str) -> Model:
    """The Model that a setting names: a catalogue name, a hub id, a config.json or a GGUF file."""
    found: Model = importlib.import_module("onecard.catalog").model(name)
    return found


def cost(settings: Settings) -> Cost:
    """What a conversation asks of any machine: phases prefill and decode."""
    return cost_of(model_of(settings.model), settings)


def held(settings: Settings) -> Cost:
    """The Cost without its operations."""
    return held_of(model_of(settings.model), settings)


def held_of(model: Model, settings: Settings) -> Cost:
    """What a conversation with this Model holds."""
    context = 4096 if settings.context is None else settings.context
    if context < 1:
        raise BadSetting(f"context = {context} will not do", next="give a number of tokens, at least 1")
    quant = settings.quant or default_quant(model, settings.engine)
    if model.tensor_types and settings.engine == "llama.cpp" and quant.lower() != mix_of(model):
        raise BadSetting(
            f"quant = {quant} will not do: {model.file or model.name} is {mix_of(model)}",
            why="a GGUF file has the types that it was quantised to",
            next="leave --quant out, or name the model instead of the file",
        )
    phases = _phases(model, settings, quant, context)
    if settings.draft:
        # A draft model lives beside the model, with a cache of the same length.
        small = model_of(settings.draft)
        other = _phases(small, settings, default_quant(small, settings.engine), context)
        phases = Phases(phases.prefill + other.prefill, phases.decode + other.decode)
    extra: dict[str, Any] = {"parameters": parameters(model)}
    if settings.engine in RESERVING:
        extra["compute_capability"] = CAPABILITY[settings.engine]
        extra["reserves"] = (
            UTILIZATIONS[0] if settings.gpu_memory_utilization is None else settings.gpu_memory_utilization
        )
        element = KV_ELEMENT.get((settings.kv_type or "f16").lower(), 2.0)
        extra["kv_bytes_per_token"] = torch_kv_bytes(model, 1, 1, element)
    if settings.engine == "llama.cpp" and settings.n_gpu_layers is not None:
        extra["offloaded_layers"] = (
            max(0, model.layers + 1 - settings.n_gpu_layers) if settings.n_gpu_layers >= 0 else 0
        )
    return Cost(
        phases=(
            Phase(
                name="prefill",
                parts=phases.prefill,
                unit="tokens",
                units=float(settings.prompt_tokens * settings.batch),
            ),
            Phase(
                name="decode",
                parts=phases.decode,
                unit="tokens",
                units=float(settings.batch),
                repeat=float(settings.output_tokens),
            ),
        ),
        runtime=RUNTIMES.get(settings.engine, "torch"),
        extra=extra,
        notes=tuple(_notes(model, settings, context)),
    )


def cost_of(model: Model, settings: Settings) -> Cost:
    """The Cost for a Model that is not looked up by name."""
    bare = held_of(model, settings)
    quant = settings.quant or default_quant(model, settings.engine)
    flash = settings.flash_attention if settings.engine == "llama.cpp" else settings.attention != "eager"
    work = chat_work(
        model,
        engine=settings.engine,
        quant=quant,
        version=settings.engine_version,
        kv_type=(settings.kv_type or "f16").lower(),
        batch=settings.batch,
        prompt_tokens=settings.prompt_tokens,
        output_tokens=settings.output_tokens,
        micro_batch=settings.micro_batch,
        flash=None if settings.engine_version or settings.engine not in ("llama.cpp", "transformers") else flash,
        gpu_layers=settings.n_gpu_layers,
    )
    prefill, decode = bare.phases
    return replace(bare, phases=(replace(prefill, operations=work.prefill), replace(decode, operations=work.decode)))


def _notes(model: Model, settings: Settings, context: int) -> Iterator[str]:
    """What a reader should know of these settings beside the numbers."""
    if model.note:
        yield f"{model.name}: {model.note}"
    if model.context is not None and context > model.context:
        yield f"{model.name} was trained for {model.context:,} tokens: without rope scaling it loses the thread beyond"
    needed = settings.prompt_tokens + settings.output_tokens
    if needed > context:
        yield f"the context of {context:,} holds no prompt of {settings.prompt_tokens:,} and answer of {settings.output_tokens:,}"


RUNTIMES = {
    "llama.cpp": "llama.cpp",
    "vllm": "vllm",
    "sglang": "sglang",
    "exllama": "exllama",
    "exllamav2": "exllamav2",
}


def _phases(model: Model, settings: Settings, quant: str, context: int) -> Phases:
    if settings.engine == "llama.cpp":
        return llama_phases(
            model, quant=quant, context=context, batch=settings.batch, micro_batch=settings.micro_batch,
            kv_type=settings.kv_type, flash=settings.flash_attention, gpu_layers=settings.n_gpu_layers,
            version=settings.engine_version, swa_full=settings.swa_full, images=settings.images,
        )  # fmt: skip
    return torch_phases(
        model, settings.engine, quant=quant, context=context, prompt=settings.prompt_tokens, batch=settings.batch,
        attention=settings.attention, version=settings.engine_version, kv_type=settings.kv_type, images=settings.images,
    )  # fmt: skip


def default_quant(model: Model, engine: str) -> str:
    """The format where none is asked for: what the file has, Q4_K_M for llama.cpp, 16 bits elsewhere."""
    if engine != "llama.cpp":
        return "bf16"
    if model.tensor_types:
        return mix_of(model)
    return "mxfp4" if model.family == "gpt-oss" else "q4_k_m"  # published in MXFP4: there is nothing better to quantise


QUANTS = {
    "llama.cpp": (
        ("q8_0", 0.0), ("q6_k", 0.0044), ("q5_k_m", 0.0142), ("q4_k_m", 0.0535), ("q3_k_m", 0.2437),
    ),
    "transformers": (("bf16", 0.0), ("int8", 0.01), ("nf4", 0.06)),
    "vllm": (("bf16", 0.0), ("gptq-int8", 0.005), ("awq-int4", 0.05)),
    "sglang": (("bf16", 0.0), ("gptq-int8", 0.005), ("awq-int4", 0.05)),
}  # fmt: skip
"""Formats from least to most harm. The harm is the rise of a 7B model's perplexity (ggml-org/llama.cpp#1684; the QLoRA paper's
table 2 for nf4); the other settings' harms are put on the same scale by judgement."""

CAPABILITY = {"vllm": 7.0, "sglang": 7.5}
"""compute capability that an engine's kernels ask for: docs.vllm.ai (GPU installation), docs.sglang.ai (install)"""

UTILIZATIONS = (0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""Shares of the card that vLLM is told to fill; its own default first. A CUDA context and a desktop come on top, so that 0.9
is too much for many a card of 8 or 12 GB that shows a picture too. What a smaller share costs is pages of cache."""

CONTEXTS = (32768, 16384, 8192, 4096, 2048)


def choices(settings: Settings) -> tuple[Choice, ...]:
    """What the planner may choose, in order of least harm, for every field that is None."""
    model = model_of(settings.model)
    found: list[Choice] = []
    if settings.quant is None:
        only = ((default_quant(model, settings.engine), 0.0),)
        published = settings.engine == "llama.cpp" and model.family == "gpt-oss"
        options: tuple[tuple[str, float], ...] = only if published else QUANTS.get(settings.engine, only)
        if model.tensor_types and settings.engine == "llama.cpp":
            options = ((mix_of(model), 0.0),)  # the file has its own types
        names, harms = zip(*options, strict=True)
        found.append(Choice(setting="quant", options=names, harms=harms, why="fewer bits a weight cost accuracy"))
    if settings.context is None:
        least = settings.prompt_tokens + settings.output_tokens
        most = min(model.context or CONTEXTS[0], CONTEXTS[0])
        sizes = tuple(c for c in CONTEXTS if least <= c <= most) or (max(least, 1),)
        found.append(
            Choice(
                setting="context", options=sizes, harms=tuple(0.03 * i**2 for i in range(len(sizes))),
                why="a shorter conversation fits",
            )
        )  # fmt: skip
    if settings.kv_type is None:
        types = ("f16", "q8_0", "q4_0") if settings.engine == "llama.cpp" and settings.flash_attention else ("f16",)
        found.append(
            Choice(
                setting="kv_type", options=types, harms=(0.0, 0.02, 0.3)[: len(types)], why="coarser keys and values"
            )
        )
    if settings.engine in RESERVING and settings.gpu_memory_utilization is None:
        found.append(
            Choice(
                setting="gpu_memory_utilization", options=UTILIZATIONS,
                harms=tuple(0.001 * i for i in range(len(UTILIZATIONS))), why="fewer pages of cache",
            )
        )  # fmt: skip
    if settings.n_gpu_layers is None and settings.engine == "llama.cpp":
        counts = tuple(range(model.layers + 1, -1, -1))
        found.append(
            Choice(
                setting="n_gpu_layers", options=counts, harms=tuple(i / len(counts) for i in range(len(counts))),
                why="layers on the host run at the host's speed",
            )
        )  # fmt: skip
    return tuple(found)


def needs(settings: Settings) -> tuple[Need, ...]:
    """Libraries that running needs."""
    if settings.engine == "llama.cpp":
        return (Need(module="xllamacpp", extra="gguf", purpose="to run GGUF models"),)
    if settings.engine not in engine.RUNS:
        return ()
    return (Need(module="transformers", extra="llm", purpose="to run a model in transformers"),)


def outside(settings: Settings) -> str | None:
    """How an engine that is only priced here is started: the flags of `vllm serve` and of SGLang's server."""
    if settings.engine in engine.RUNS:
        return None
    model = model_of(settings.model)
    name = shlex.quote(model.hub_id or settings.model)
    share = settings.gpu_memory_utilization
    if settings.engine == "vllm":
        cache = " --kv-cache-dtype fp8" if settings.kv_type == "fp8" else ""
        return f"vllm serve {name} --max-model-len {settings.context} --gpu-memory-utilization {share}{cache}"
    if settings.engine == "sglang":
        return (
            f"python -m sglang.launch_server --model-path {name} --context-length {settings.context} "
            f"--mem-fraction-static {share}"
        )
    return ""


SHOWCASE = (
    ("small (up to 4B)", ("qwen3-0.6b", "llama-3.2-1b", "llama-3.2-3b", "gemma-3-4b")),
    ("medium (7B to 15B)", ("llama-3.1-8b", "qwen3-8b", "gemma-3-12b", "phi-4")),
    ("large and experts", ("gpt-oss-20b", "qwen3-30b-a3b", "gemma-3-27b", "llama-3.3-70b")),
    # from here on only with --all
    ("small (up to 4B)", ("smollm2-360m", "gemma-3-1b", "smollm2-1.7b", "qwen3-4b", "phi-3.5-mini")),
    (
        "medium (7B to 15B)",
        ("llama-2-7b", "mistral-7b", "qwen2.5-7b", "gemma-2-9b", "mistral-nemo", "llama-2-13b", "qwen3-14b"),
    ),
    (
        "large and experts",
        ("deepseek-v2-lite", "mistral-small-24b", "qwen3-32b", "mixtral-8x7b", "qwen3-next-80b", "gpt-oss-120b"),
    ),
)
"""what people run first, by what a card must have; the first twelve are what `can` shows unasked"""

workload = Workload(
    settings=Settings,
    cost=cost,
    held=held,
    choices=choices,
    needs=needs,
    prove=engine.prove,
    run=engine.run,
    ready=engine.ready,
    outside=outside,
    showcase=tuple((group, {"model": name}) for group, names in SHOWCASE for name in names),
    example={"model": "smollm2-135m", "context": 1024},
)
