"""Names in the published files -> Model and Device. A name that is not understood is a reason, not a guess.

Models that only old benchmarks use (LLaMA 1, MPT, StableLM Alpha ...) have their shapes here, from their config.json on the hub;
all others come from the catalogue.
"""

import re
from functools import cache

from published_cells import count, gigabytes
from published_frame import Row, Unmapped

from onecard import catalog
from onecard.core.device import Device
from onecard.core.errors import OnecardError
from onecard.core.model import Experts, Model


def _llama(
    name: str, layers: int, hidden: int, heads: int, ffn: int, vocab: int = 32000, kv: int | None = None
) -> Model:
    return Model(
        name=name, family="llama", layers=layers, hidden=hidden, heads=heads, kv_heads=kv or heads,
        head_dim=hidden // heads, ffn=ffn, vocab=vocab,
    )  # fmt: skip


def _qwen(
    name: str, layers: int, hidden: int, heads: int, kv: int, ffn: int, tied: bool = False, dim: int = 128, vocab: int = 151936,
    experts: Experts | None = None,
) -> Model:  # fmt: skip
    return Model(
        name=name, family="qwen2moe" if experts else "qwen2", layers=layers, hidden=hidden, heads=heads, kv_heads=kv,
        head_dim=dim, ffn=ffn, vocab=vocab, tied=tied, qkv_bias=True, experts=experts,
    )  # fmt: skip


def _plain(
    name: str, family: str, layers: int, hidden: int, heads: int, kv: int, dim: int, ffn: int, vocab: int, tied: bool,
    parallel: bool, norms: int = 2,
) -> Model:  # fmt: skip
    return Model(
        name=name, family=family, layers=layers, hidden=hidden, heads=heads, kv_heads=kv, head_dim=dim, ffn=ffn, vocab=vocab,
        tied=tied, gated=False, norm="layer", parallel=parallel, norms_per_layer=norms, fused_qkv=True,
    )  # fmt: skip


_OLD = (
    _llama("llama-7b", 32, 4096, 32, 11008),
    _llama("llama-13b", 40, 5120, 40, 13824),
    _llama("llama-30b", 60, 6656, 52, 17920),
    _llama("llama-33b", 60, 6656, 52, 17920),
    _llama("llama-65b", 80, 8192, 64, 22016),
    _llama("llama-2-13b", 40, 5120, 40, 13824),
    _llama("llama-2-70b", 80, 8192, 64, 28672, kv=8),
    _llama("llama-3-8b", 32, 4096, 32, 14336, 128256, 8),
    _llama("llama-3-70b", 80, 8192, 64, 28672, 128256, 8),
    _llama("openllama-3b", 26, 3200, 32, 8640),
    _llama("codellama-34b", 48, 8192, 64, 22016, kv=8),
    _llama("deepseek-33b", 62, 7168, 56, 19200, 32256, 8),
    _llama("solar-10.7b", 48, 4096, 32, 14336, kv=8),
    _llama("mistral-7b", 32, 4096, 32, 14336, kv=8),
    _qwen("qwen-1.8b", 24, 2048, 16, 16, 5504),
    _qwen("qwen-7b", 32, 4096, 32, 32, 11008),
    _qwen("qwen-14b", 40, 5120, 40, 40, 13696, vocab=152064),
    _qwen("qwen-72b", 80, 8192, 64, 64, 24576, vocab=152064),
    _qwen("qwen1.5-0.5b", 24, 1024, 16, 16, 2816, True, 64),
    _qwen("qwen1.5-1.8b", 24, 2048, 16, 16, 5504),
    _qwen("qwen2-0.5b", 24, 896, 14, 2, 4864, True, 64),
    _qwen("qwen2-1.5b", 28, 1536, 12, 2, 8960, True),
    _qwen("qwen2-7b", 28, 3584, 28, 4, 18944, vocab=152064),
    _qwen("qwen2-72b", 80, 8192, 64, 8, 29568, vocab=152064),
    _qwen("qwen2-57b-a14b", 28, 3584, 28, 4, 18944, experts=Experts(count=64, used=8, ffn=2560, shared=1, shared_ffn=20480)),
    _qwen("qwen2.5-0.5b", 24, 896, 14, 2, 4864, True, 64),
    _qwen("qwen2.5-1.5b", 28, 1536, 12, 2, 8960, True),
    _qwen("qwen2.5-3b", 36, 2048, 16, 2, 11008, True),
    _qwen("qwen2.5-14b", 48, 5120, 40, 8, 13824, vocab=152064),
    _qwen("qwen2.5-32b", 64, 5120, 40, 8, 27648, vocab=152064),
    _qwen("qwen2.5-72b", 80, 8192, 64, 8, 29568, vocab=152064),
    _plain("mpt-7b", "mpt", 32, 4096, 32, 32, 128, 16384, 50432, True, False),
    _plain("falcon-7b", "falcon", 32, 4544, 71, 1, 64, 18176, 65024, True, True, 1),
    _plain("falcon-40b", "falcon", 60, 8192, 128, 8, 64, 32768, 65024, True, True),
    _plain("phi-1.5", "phi2", 24, 2048, 32, 32, 64, 8192, 51200, False, True, 1),
    _plain("stablelm-alpha-3b", "gptneox", 16, 4096, 32, 32, 128, 16384, 50688, False, True),
)  # fmt: skip
_SHAPES = {m.name: m for m in _OLD}

_SAME = {
    "stablelm alpha 3b": "stablelm-alpha-3b", "llama-2-7b-chat": "llama-2-7b", "deepseek-coder-33b": "deepseek-33b",
    "qwq-32b-preview": "qwen2.5-32b", "llama-3-1b": "llama-3.2-1b", "llama-3-3b": "llama-3.2-3b", "tinyllama": "tinyllama-1.1b",
    "tinyllama-1b": "tinyllama-1.1b", "mixtral": "mixtral-8x7b", "gpt-oss": "gpt-oss-20b", "phi-3": "phi-3-mini",
}  # fmt: skip
"""names of the same shapes"""

_TUNES = {
    r"(vicuna|koala|wizardlm|wizard-vicuna|guanaco|alpaca|airoboros|nous-hermes|chronos|manticore|samantha)-(7|13|30|33|65)b":
        r"llama-\2b",
    r"(zephyr|openhermes|openhermes-2(\.5)?|openchat(-3\.5)?|starling-lm|neural-chat|dolphin(-2(\.\d)?)?)-7b": "mistral-7b",
    r"llama-?(7|13|30|33|65)b": r"llama-\1b",
    r"(qwen2|qwen2\.5)-(?:math|coder)-(.+)": r"\1-\2",
    r"qwq-32b.*": "qwen2.5-32b", r"(devstral|magistral)-small.*": "mistral-small-24b", r"mistral-small-3\.2-24b": "mistral-small-24b",
    r"codestral-22b": "mistral-small-22b", r"(llama-3\.1-)?nemotron-70b": "llama-3.1-70b", r"gemma-1\.1-(\d)b": r"gemma-\1b",
    r"qwen3-vl-(\d+b.*)": r"qwen3-\1", r"qwen2\.5-omni-(\d+b)": r"qwen2.5-\1",
}  # fmt: skip
"""tunings of a model have its shapes"""

_ENDINGS = re.compile(
    r"[-_ ](gptq(-int[48])?|awq|fp8|bnb(-4bit)?|int[48]|4bit|8bit|gguf|ggml|hf|base|instruct|chat|it|v\d(\.\d+)?|preview|\d{4})$"
)


@cache
def model(name: str) -> Model:
    """The Model of a published name; endings that say only the tuning or the format are dropped.

    A tuning that is called after its model ("Hermes-3-Llama-3.1-8B") has its shapes: the longest known name in it, whole words.
    """
    short = re.sub(r"[\s_]+", "-", name.lower().strip().rpartition("/")[2] or name.lower().strip())
    tried = [name.lower().strip(), short]
    while (cut := _ENDINGS.sub("", tried[-1])) != tried[-1]:
        tried.append(cut)
    for each in tuple(tried):
        tried += [re.sub(pattern, shapes, each) for pattern, shapes in _TUNES.items() if re.fullmatch(pattern, each)]
    for each in tried:
        found = from_catalogue(each) or _SHAPES.get(_SAME.get(each, each)) or from_catalogue(_SAME.get(each, each))
        if found is not None:
            return found
    words = short.split("-")
    for size in range(len(words) - 1, 1, -1):
        for start in range(len(words) - size + 1):
            part = "-".join(words[start : start + size])
            if re.search(r"\d(\.\d)?b$", part) and (found := from_catalogue(part) or _SHAPES.get(part)):
                return found
    raise Unmapped(f"model {name or '(empty)'} is not in the catalogue")


def from_catalogue(name: str) -> Model | None:
    """None where the catalogue does not know it."""
    return catalog.find_model(name) if name and catalog.has_model(name) else None


_CARDS = {"H20": "H20 96GB"}
"""published names that the catalogue calls otherwise"""
_SEVERAL = re.compile(
    r"^\s*(\d{1,2})\s*[x×*]\s+|^\s*(\d{1,2})[x×](?=[a-z])|\s+[x×*]\s?(\d{1,2})\s*$|\s*\((\d{1,2})x\)\s*$", re.IGNORECASE
)


def cards_named(gpu: str) -> tuple[str, int]:
    """("RTX 4090", 2) of "2x RTX 4090", "2 x RTX 4090", "RTX 4090 x2" and "RTX 4090 (2x)"."""
    found = _SEVERAL.search(gpu)
    if not found:
        return gpu.strip(), 1
    return (gpu[: found.start()] + gpu[found.end() :]).strip(), int(next(g for g in found.groups() if g))


@cache
def device(gpu: str, memory: str) -> Device:
    """The Device of a published card name; `memory` in GB tells variants of one name apart."""
    name, several = cards_named(gpu)
    name = re.sub(r"^Lambda ?Cloud( —)? ", "", name)  # where a card was rented
    name = re.sub(r"\b(NVIDIA|AMD|Intel|Tesla|Instinct) (?=\S)", "", name) if name.count(" ") > 1 else name
    reasons: list[str] = []
    size = gigabytes(memory) or next((float(n) for n in re.findall(r" (\d+) ?GB$", name, re.IGNORECASE)), None)
    # Turing's workstation cards are often called without "Quadro"; their memory tells them from Ada's of the same name.
    for given in dict.fromkeys((_CARDS.get(name, name), cards_named(gpu)[0], f"Quadro {name}")):
        found = _found(given, size, several, reasons)
        if found is not None:
            return found
    raise Unmapped(f"card {gpu or '(empty)'}: {reasons[0] if reasons else 'unknown'}")


def _found(gpu: str, size: float | None, several: int, reasons: list[str]) -> Device | None:
    digits = f"{size:g}" if size else ""
    sized = f"{gpu} {digits} GB" if size else gpu
    for name in (
        sized,
        gpu,
        f"{gpu} {digits}GB",
        f"{gpu} GPU",
        f"{gpu} GPU {digits} GB",
        re.sub(r" \d+ ?GB$", "", gpu),
    ):
        try:
            found = catalog.card(name)
        except OnecardError as error:
            alike = _variants(name)
            if size is None and alike:
                return alike
            reasons.append(str(error).splitlines()[0])
            continue
        # "RTX 3080" with 12 GB is another card than the first RTX 3080: the memory must agree within a tenth.
        own = found.memory_total / 1024**3
        if (
            size is None
            or found.unified
            or any(abs(own / (size / n) - 1) < 0.1 for n in {1, several, 2 if "250" in gpu else 1})
        ):
            return found
        reasons.append(f"{name} has {own:.0f} GiB, the row says {digits} GB")
    return None


def _variants(name: str) -> Device | None:
    """A card that is sold with several sizes of memory and nothing else that differs: the smallest."""
    found = []
    for size in (4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192):
        try:
            found.append(catalog.card(f"{name} {size}GB"))
        except OnecardError:
            continue
    same = {(d.bandwidth, d.multiprocessors, d.clock) for d in found}
    return found[0] if len(same) == 1 else None


@cache
def processor(name: str) -> Device:
    """A CPU that a row names. No catalogue has them, so cores and channels of memory are not known: never a guess."""
    raise Unmapped(f"{name} is a processor: its cores and its memory's bandwidth are not in the row")


def device_of(row: Row) -> Device:
    """The card of a row; equal cards that its name counts are counted by `cards_of`."""
    if (
        re.search(r"\b(cpu|xeon|ryzen \d|epyc|core i\d|threadripper)\b", row["gpu"].lower())
        and "8060s" not in row["gpu"].lower()
    ):
        return processor(row["gpu"])
    return device(row["gpu"], row["vram_gb"])


def cards_of(row: Row) -> int:
    """How many cards shared the work. Raises Unmapped."""
    return max(count(row["n_gpu"]), cards_named(row["gpu"])[1])


ENGINES: tuple[tuple[str, str], ...] = (
    ("ik_llama", "llama.cpp"), ("llama.cpp", "llama.cpp"), ("llama-bench", "llama.cpp"), ("llama-cpp-python", "llama.cpp"),
    ("llama-server", "llama.cpp"), ("llamafile", "llama.cpp"), ("llamacpp", "llama.cpp"), ("ollama", "llama.cpp"),
    ("lm studio", "llama.cpp"), ("lmstudio", "llama.cpp"), ("kobold", "llama.cpp"), ("ctransformers", "llama.cpp"),
    ("gpt4all", "llama.cpp"), ("ggml", "llama.cpp"), ("mlx", "llama.cpp"),
    ("vllm", "vllm"), ("sglang", "sglang"), ("aphrodite", "vllm"), ("tensorrt-llm", "vllm"), ("trt-llm", "vllm"),
    ("text-generation-inference", "vllm"), ("tgi", "vllm"), ("lmdeploy", "vllm"), ("turbomind", "vllm"),
    ("autoawq", "autoawq"), ("exllamav2", "exllamav2"), ("exllamav3", "exllamav2"), ("tabbyapi", "exllamav2"),
    ("gptq-for-llama", "gptq-for-llama"), ("exllama", "exllama"), ("torchao", "gpt-fast"), ("gpt-fast", "gpt-fast"),
    ("litgpt", "litgpt"), ("lit-gpt", "litgpt"), ("mlc", "mlc"),
    ("transformers", "transformers"), ("unsloth", "transformers"), ("bitsandbytes", "transformers"), ("autogptq", "transformers"),
)  # fmt: skip
"""What a row's software says -> the engine that does the work, first match wins. Programs around llama.cpp are llama.cpp; servers
with kernels of vLLM's kind (graphs, pages, fused layers) and MLX beside llama.cpp on Metal are priced as the nearest one."""


def engine_of(row: Row) -> str:
    """The engine of a row. Raises Unmapped."""
    software = row["software"].lower()
    for name, engine in ENGINES:
        if name in software:
            return engine
    raise Unmapped(f"engine {row['software'] or '(empty)'} is not known")
