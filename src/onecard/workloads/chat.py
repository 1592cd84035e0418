"""Chat: text from a large language model.

A prompt is read at once (prefill), then tokens come one by one (decode). Weights stay where the engine puts them, keys
and values of every token stay until the end, and each engine has its own work buffers.
"""

import importlib
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from onecard.core.cost import Cost, Part, Phase
from onecard.core.errors import BadSetting
from onecard.core.model import Model
from onecard.core.plan import Choice
from onecard.core.ranges import Range
from onecard.core.workload import Need, Workload
from onecard.engines import chat as engine
from onecard.parts.chat_work import chat_work
from onecard.parts.kv_cache import llama_kv_bytes
from onecard.parts.mixes import gguf_types, known_mix
from onecard.parts.quantized import cuda_bytes
from onecard.parts.transformer import tensors

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
        int | None,
        msgspec.Meta(
            description="layers on the device, counted from the last; one more than the model has puts the output there too"
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
        float, msgspec.Meta(description="share of the card that vLLM and SGLang reserve", gt=0, le=1)
    ] = 0.9
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


def cost_of(model: Model, settings: Settings) -> Cost:
    """The Cost for a Model that is not looked up by name."""
    context = settings.context or 4096
    if context < 1:
        raise BadSetting(f"context = {settings.context} will not do", next="give a number of tokens, at least 1")
    types = gguf_types(model, known_mix(settings.quant or "q4_k_m"))
    weights = sum(cuda_bytes(types[t.name], t.shape) for t in tensors(model))
    kv = (settings.kv_type or "f16").upper()
    cache = sum(
        llama_kv_bytes(model, layer, context, settings.batch, settings.micro_batch, kv, kv)
        for layer in range(model.layers)
    )
    parts = (
        Part(name="weights", bytes=Range.exact(weights)),
        Part(name="kv_cache", bytes=Range.exact(cache)),
    )
    flash = settings.flash_attention if settings.engine == "llama.cpp" else settings.attention == "flash"
    work = chat_work(
        model,
        engine=settings.engine,
        quant=settings.quant or "q4_k_m",
        version=settings.engine_version,
        kv_type=(settings.kv_type or "f16").lower(),
        batch=settings.batch,
        prompt_tokens=settings.prompt_tokens,
        output_tokens=settings.output_tokens,
        micro_batch=settings.micro_batch,
        flash=None if settings.engine_version or settings.engine not in ("llama.cpp", "transformers") else flash,
        gpu_layers=settings.n_gpu_layers,
    )
    return Cost(
        phases=(
            Phase(
                name="prefill",
                parts=parts,
                operations=work.prefill,
                unit="tokens",
                units=float(settings.prompt_tokens * settings.batch),
            ),
            Phase(
                name="decode",
                parts=parts,
                operations=work.decode,
                unit="tokens",
                units=float(settings.batch),
                repeat=float(settings.output_tokens),
            ),
        ),
        runtime=settings.engine,
    )


def choices(settings: Settings) -> tuple[Choice, ...]:
    """What the planner may choose, in order of least harm."""
    return ()


def needs(settings: Settings) -> tuple[Need, ...]:
    """Libraries that running needs."""
    if settings.engine == "llama.cpp":
        return (Need(module="xllamacpp", extra="gguf", purpose="to run GGUF models"),)
    return (Need(module="transformers", extra="llm", purpose="to run a model in transformers"),)


workload = Workload(settings=Settings, cost=cost, choices=choices, needs=needs, prove=engine.prove, run=engine.run)
