"""Cells of the published files as people write them -> plain values. What is not understood is None, or a reason (Unmapped).

One sheet says "pp 512", another "pp512 @ d4096", a third "in=6144 out=2048"; "Q4_K - Medium" and q4_K_M are one format, "24",
"24 GB" and "24564" one size of memory. Nothing here knows a card or a law.
"""

import re

import msgspec
from published_frame import Row, Unmapped

from onecard.parts.mixes import MIXES


def gigabytes(text: str) -> float | None:
    """Size of a card's memory in GB: "24", "24.0", "24 GB", "24564" (MiB); None where the cell says no single size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(gi?b?|mi?b)?\s*", text.lower())
    if not found or not float(found[1]):
        return None
    size = float(found[1])
    return size / 1024 if (found[2] or "").startswith("m") or size > 2000 else size


def count(text: str, default: int = 1) -> int:
    """A whole number of at least 1: "", "0" and "1.0" are 1. Raises Unmapped for "1,8" and the like."""
    if not text.strip():
        return default
    try:
        value = float(text)
    except ValueError:
        raise Unmapped(f'"{text}" is not one number') from None
    if value < 0 or value != int(value):
        raise Unmapped(f'"{text}" is no whole number')
    return max(1, int(value))


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a test."""

    prompt: int | None = None
    output: int | None = None
    past: int = 0
    """in the cache before the test begins"""
    both: bool = False
    """prompt and answer are one test (llama-bench -pg)"""


_K = re.compile(r"(?<![\d._])(\d+(?:\.\d+)?)\s?k\b")


def _plain(text: str) -> str:
    """Lower case, "8k" as 8192, no thousands' commas."""
    lowered = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower())
    return _K.sub(lambda m: str(round(float(m[1]) * 1024)), lowered)


def lengths(text: str) -> Lengths:
    """Tokens that a context cell names."""
    text = _plain(text)
    past = 0
    if found := re.search(r"(?:@\s*d?|depth\s*=?\s*|\bd=?)(\d+)", text):
        past = int(found[1])
        text = text.replace(found[0], " ")
    if found := re.search(r"\b(?:pp|tg)\s?(\d+)\s*\+\s*tg\s?(\d+)|\bpg\s?(\d+)\s*,\s*(\d+)", text):
        prompt, output = (int(g) for g in found.groups() if g)
        return Lengths(prompt=prompt, output=output, past=past, both=True)
    pp, tg = re.search(r"\bpp[\s=_-]?(\d+)", text), re.search(r"\b(?:tg|gen)[\s=_-]?(\d+)", text)
    if pp or tg:
        return Lengths(prompt=int(pp[1]) if pp else None, output=int(tg[1]) if tg else None, past=past)
    into = re.search(r"\b(?:in(?:put)?|prompt|prefill|isl)(?:_?(?:len|tokens))?\s*[=: ]\s*(\d+)", text)
    out = re.search(
        r"\b(?:out(?:put)?|gen(?:erate|eration)?|decode|osl|new)(?:_?(?:len|tokens))?\s*[=: ]\s*(\d+)|(\d+) (?:new|output) tokens",
        text,
    )
    return Lengths(
        prompt=int(into[1]) if into else None, output=int(next(g for g in out.groups() if g)) if out else None, past=past
    )  # fmt: skip


def switches(row: Row) -> dict[str, str]:
    """llama.cpp's own flags wherever a row writes them: fa, ub, ngl, ctk (flash attention, micro-batch, GPU layers, KV type)."""
    text = " ".join(row[c] for c in ("software", "context_or_resolution", "notes")).lower()
    found: dict[str, str] = {}
    for name, pattern in (
        ("fa", r"(?:\bfa|flash[-_ ]?att(?:n|ention))\b\s*[=: ]?\s*(1|0|on|off|true|false|yes|no|enabled|disabled)\b"),
        ("ub", r"\b(?:ub|n_ubatch|ubatch)\s*[=: ]?\s*(\d+)"),
        ("ngl", r"\b(?:ngl|n-gpu-layers|n_gpu_layers|gpu layers)\s*[=: ]?\s*(\d+)"),
        ("ctk", r"\b(?:ctk|type_k|kv(?: cache)?)\s*[=: ]?\s*(q\d_\d|f16|bf16|f32)\b"),
    ):
        if match := re.search(pattern, text):
            found[name] = match[1]
    if "all layers" in text:  # builds of 2023 on Metal take every layer for -ngl 1
        found.pop("ngl", None)
    return found


_WORDS = {"- medium": "_m", "- small": "_s", "- large": "_l"}
_GGUF = {
    "q2_k_l": "q2_k", "q2_k_xl": "q2_k", "q3_k": "q3_k_m", "q3_k_xl": "q3_k_l", "q4_k": "q4_k_m", "q4_k_l": "q4_k_m",
    "q4_k_xl": "q4_k_m", "q5_k": "q5_k_m", "q5_k_l": "q5_k_m", "q5_k_xl": "q5_k_m", "q6_k_l": "q6_k", "q6_k_xl": "q6_k",
    "q8_k_xl": "q8_0", "q4": "q4_0", "int4": "q4_0", "4bit": "q4_0", "q8": "q8_0", "int8": "q8_0", "8bit": "q8_0", "q5": "q5_0",
    "q6": "q6_k", "fp16": "f16", "half": "f16", "float16": "f16", "fp32": "f32", "float32": "f32", "bfloat16": "bf16",
    "q4_0_4_4": "q4_0", "q4_0_4_8": "q4_0", "q4_0_8_8": "q4_0", "mxfp4_moe": "mxfp4", "iq4": "iq4_xs",
}  # fmt: skip


def gguf_quant(text: str) -> str:
    """The mix of a GGUF file: "Q4_K - Medium", "UD-Q4_K_XL" and "int4" included. Raises Unmapped."""
    name = text.lower().strip()
    for words, ending in _WORDS.items():
        name = name.replace(f" {words}", ending)
    name = re.sub(r"^(ud|gguf|ggml)[-_ ]+", "", name)
    name = re.split(r" - |\s*\(|,| mix\b", name)[0].strip()
    name = re.sub(r"[-_ ](gguf|moe|bpw)$", "", name).replace("-", "_").replace("bit", "bit").replace("_bit", "bit")
    name = name.replace(" ", "_")
    name = _GGUF.get(name, name)
    if name not in MIXES:
        raise Unmapped(f"{text or '(empty)'} is no format of llama.cpp that is known")
    return name


def torch_quant(text: str, model: str = "", bits: str = "nf4") -> str:
    """The format outside GGUF, from the cell or else from the model's name ("Qwen3-8B-AWQ"). bits: what "4-bit" means here."""
    cell = text.lower()
    name = cell.strip() or next(
        (w for w in ("gptq-int8", "gptq-int4", "gptq", "awq", "fp8", "bnb-4bit") if w in model.lower()), "bf16"
    )
    if "fp32 compute" in name:
        return f"{name.split()[0]}-fp32"
    if found := re.search(r"\b(exl[23])\D{0,3}([\d.]+) ?(?:bpw|bits?)?", name):
        return f"exl2-{found[2].rstrip('.')}bpw"
    for pattern, format in (
        (r"gptq.*(8|w8a16)", "gptq-int8" if re.search(r"gptq\D*8", name) else ""),
        (r"gptq|w4a16|marlin", "gptq-int4"), (r"awq", "awq-int4"), (r"\bfp8|float8|w8a8-fp8|e4m3", "fp8"),
        (r"int4wo|autoquant-int4", "int4wo"), (r"int8wo|int8.*weight", "int8wo"), (r"int8.*dynamic", "int8-dynamic"),
        (r"nf4-dq|nf4.*double", "nf4-dq"), (r"fp4-dq", "fp4-dq"), (r"nf4", "nf4"), (r"q4f16|mlc", "mlc-int4"),
        (r"\bfp4\b", "fp4"), (r"llm\.int8|\bint8\b|8[- ]?bit|w8a8", "int8"),
        (r"4[- ]?bit|\bq4", bits), (r"bf16|bfloat16", "bf16"), (r"fp16|float16|\bf16|half", "fp16"), (r"fp32|float32|\bf32", "fp32"),
    ):  # fmt: skip
        if format and re.search(pattern, name):
            return format
    word = name.split()[0].replace("-true", "")
    return {"int4": "gptq-int4"}.get(word, word)
