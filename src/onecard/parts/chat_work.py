"""The work of a conversation in one call: Operations of prefill and decode from a model's shapes and the engine's settings."""

import msgspec

from onecard.core.cost import Operation
from onecard.core.model import Model
from onecard.parts.generations import generation
from onecard.parts.memo import per_model
from onecard.parts.operations import Chat, decode, over_link, prefill
from onecard.parts.streams import streams

CACHE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "fp16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32, "fp8": 1.0,
}  # fmt: skip
"""bytes an element of the KV cache"""


class Work(msgspec.Struct, frozen=True):
    """Operations of the whole prompt, and of one decode step at the mean depth of the answer."""

    prefill: tuple[Operation, ...]
    decode: tuple[Operation, ...]


@per_model
def chat_work(
    model: Model,
    *,
    engine: str,
    quant: str,
    version: str | None = None,
    kv_type: str = "f16",
    batch: int = 1,
    prompt_tokens: int = 512,
    output_tokens: int = 128,
    past_tokens: int = 0,
    micro_batch: int = 512,
    flash: bool | None = None,
    gpu_layers: int | None = None,
) -> Work:
    """What a conversation does. flash: None for what this generation of the engine does by itself.

    past_tokens: in the cache before the prompt, of an earlier turn.
    gpu_layers: llama.cpp's n_gpu_layers; one more than the model has layers (or None) puts the output there too.
    """
    era = generation(engine, version)
    if gpu_layers is not None and not 0 <= gpu_layers <= model.layers:
        gpu_layers = None  # llama.cpp's -1, and one more than the layers, mean everything
    if engine != "llama.cpp":
        micro_batch = 8192
    chat = Chat(
        model=model,
        weights=streams(model, engine, quant, gpu_layers),
        generation=era,
        batch=batch,
        kv_bytes=CACHE_BYTES.get(kv_type, 2.0),
        flash=era.flash if flash is None else flash,
        micro_batch=micro_batch,
        gpu_layers=gpu_layers,
    )
    reading = prefill(chat, max(1, prompt_tokens), past_tokens)
    return Work(
        prefill=over_link(chat, reading) if gpu_layers is not None else reading,
        decode=decode(chat, past_tokens + prompt_tokens + output_tokens / 2),
    )
