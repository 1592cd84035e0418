"""Memory of a conversation in any engine, as parts of its two phases, from a Model and the settings of chat.

llama.cpp allocates everything before the first token, so both phases hold the same. Engines built on torch allocate as they go
(parts/torch_inference.py). vLLM and SGLang take a share of the card and give what weights and activations leave to pages of cache.
"""

from typing import NamedTuple

import msgspec

from onecard.core.cost import Part
from onecard.core.errors import BadSetting
from onecard.core.model import Model
from onecard.core.ranges import Range
from onecard.parts.kv_cache import torch_kv_bytes
from onecard.parts.llama_cpp import cpu_parts, llama_parts
from onecard.parts.mixes import known_mix
from onecard.parts.quantized import GGUF_BLOCKS
from onecard.parts.torch_engines import other_phases
from onecard.parts.torch_inference import KV_ELEMENT, Peak, transformers_phases
from onecard.parts.torch_weights import base_format, head_bytes
from onecard.parts.vision import tower_activations, tower_bytes

RESERVING = ("vllm", "sglang")
PAGE = 16
"""tokens of one page of vLLM's cache (block_size)"""


class Phases(NamedTuple):
    """Parts while reading and while writing."""

    prefill: tuple[Part, ...]
    decode: tuple[Part, ...]


def cache_type(engine: str, kv_type: str | None) -> str:
    """The format of keys and values as the engine names it. Raises BadSetting."""
    name = (kv_type or "f16").lower()
    if engine == "llama.cpp":
        found = {"fp16": "F16", "fp32": "F32"}.get(name, name.upper())
        if found not in GGUF_BLOCKS or found.startswith(("I8", "I16", "I32", "I64", "F64")):
            raise BadSetting(
                f'kv_type = "{kv_type}" will not do',
                next="llama.cpp: f16, bf16, f32, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl",
            )
        return found
    if name not in KV_ELEMENT:
        raise BadSetting(f'kv_type = "{kv_type}" will not do', next=f"{engine}: {', '.join(KV_ELEMENT)}")
    return name


def llama_phases(
    model: Model, *, quant: str, context: int, batch: int, micro_batch: int, kv_type: str | None, flash: bool,
    gpu_layers: int | None, version: str | None, swa_full: bool, images: int,
) -> Phases:  # fmt: skip
    """llama.cpp: everything at once."""
    mix, key = known_mix(quant), cache_type("llama.cpp", kv_type)
    if not flash and key not in ("F16", "BF16", "F32"):
        flash = True  # a quantised V cache needs flash attention (llama-context.cpp)
    found = llama_parts(
        model, quant=mix, context=context, sequences=batch, micro_batch=micro_batch, key=key, flash=flash,
        gpu_layers=gpu_layers, version=version, swa_full=swa_full,
    )  # fmt: skip
    if not gpu_layers:
        found += cpu_parts(model, mix, context, batch, micro_batch, flash, version)
    else:
        # A plan for a card; on a CPU it would still hold, with a buffer of about the card's size.
        card = next(p for p in found if p.name == "workspace" and p.only == "card")
        found += (msgspec.structs.replace(card, bytes=card.bytes * 1.1, only="cpu"),)
    if images and model.vision:
        tower = float(tower_bytes(model.vision, model.hidden))
        found += (
            Part(name="weights", bytes=Range.within(tower, 0.02, 0.04)),
            # The scores of all patches, unless the build's tower uses flash attention.
            Part(name="activations", bytes=Range.within(tower_activations(model.vision), 0.9, 0.2)),
        )
    return Phases(found, found)


def torch_phases(
    model: Model, engine: str, *, quant: str, context: int, prompt: int, batch: int, attention: str, version: str | None,
    kv_type: str | None, images: int,
) -> Phases:  # fmt: skip
    """transformers and the engines built on torch."""
    kind = cache_type(engine, kv_type)
    format = base_format(quant)
    prompt = min(prompt, context)
    if engine == "transformers":
        reading, writing = transformers_phases(
            model,
            format,
            prompt=prompt,
            context=context,
            batch=batch,
            attention=attention,
            version=version,
            kv_type=kind,
        )
    elif engine in RESERVING:
        pages = -(-context // PAGE) * PAGE
        reading, writing = transformers_phases(
            model, format, prompt=min(prompt * batch, 8192), context=context, attention="flash", kv_type=kind
        )
        held = torch_kv_bytes(model, pages, batch, KV_ELEMENT[kind])
        reading, writing = reading._replace(kv_cache=held), writing._replace(kv_cache=held)
    else:
        reading, writing = other_phases(
            model, engine, format, prompt=prompt, context=context, batch=batch, version=version
        )
    extra: tuple[Part, ...] = ()
    if images and model.vision:
        extra = (Part(name="weights", bytes=Range.within(tower_bytes(model.vision, model.hidden), 0.02, 0.04)),)
        work = tower_activations(model.vision, 2) * images
        extra += (Part(name="activations", bytes=Range.within(work, 0.3, 0.5)),)
    notes = {
        "weights": f"{format}: matrices of the blocks in {format}, embeddings, head and norms in 16 bits",
        "kv_cache": f"{prompt:,} tokens while reading, {context:,} at the end, x {batch}, {kind}",
        "activations": f"the worse of a block's feed-forward and attention for {prompt:,} tokens, and the logits",
        "workspace": "cuBLAS 8.125 MiB, and room to dequantise the largest matrix where the format needs it",
        "other": "tables of the rotary embedding, or what loading holds for a moment",
    }
    copied = _copied_head(model, format, batch) if engine == "transformers" and prompt > 1 else ()
    if engine == "transformers" and format == "int8":
        extra += (_int8_holes(model, prompt * batch),)
    return Phases(_parts(reading, notes) + extra + copied, _parts(writing, notes) + extra)


def _copied_head(model: Model, format: str, batch: int) -> tuple[Part, ...]:
    """On a CPU, the 16-bit head is copied once a sequence when the last token of a longer prompt passes through it.

    That token is a slice of the prompt's hidden states, so its strides are not those of a single token; torch's matmul
    then multiplies batches, for which it copies the expanded matrix (at::matmul, torch 2.13; not in fp32, not on CUDA;
    tests/parts/test_copied_head.py watches it).
    """
    if format in ("fp32", "f32"):
        return ()
    size = float(head_bytes(model)) * batch
    equation = f"the head, {batch} x {head_bytes(model):,.0f} bytes, copied for the last token of a prompt"
    return (Part(name="workspace", bytes=Range.within(size, 0.05, 0.08), only="cpu", equation=equation),)


def _int8_holes(model: Model, tokens: float) -> Part:
    """What the heap of a processor loses to bitsandbytes' int8 products, whose results are int32 and then fp32 for every token.

    Each layer's keys and values settle where such a result was, so that the next layer takes new memory for its own (watched
    operator by operator with mallinfo2(3)): two results of the feed-forward's width a layer. Without int8 all temporaries are
    of one type and fit each other's places.
    """
    lost = 8.0 * model.ffn * tokens * model.layers
    equation = f"holes of int32 and fp32 products: 8 bytes x {model.ffn} x {tokens:,.0f} tokens x {model.layers} layers"
    return Part(name="workspace", bytes=Range.within(lost, 0.5, 0.6), only="cpu", equation=equation)


_SPREADS = {
    "weights": (0.004, 0.012),
    "kv_cache": (0.03, 0.06),
    "activations": (0.05, 0.10),
    "workspace": (0.5, 1.0),
    "other": (0.1, 0.1),
}
"""Relative margins: what is counted by name is right to a few percent; workspaces depend on kernels"""


def _parts(peak: Peak, notes: dict[str, str]) -> tuple[Part, ...]:
    found = []
    for name, size in peak._asdict().items():
        if size > 0:
            below, above = _SPREADS[name]
            if name == "workspace":
                # cuBLAS takes 32 MiB on Hopper and later instead of 8.125.
                size_range = Range(0.5 * size, size, 1.2 * size + 24 * 2**20)
                found.append(Part(name=name, bytes=size_range, equation=notes[name]))
                continue
            found.append(Part(name=name, bytes=Range.within(size, below, above), equation=notes[name]))
    return tuple(found)
