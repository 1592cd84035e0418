"""Names in the published files -> Model and Device. Exact tables: a name that is not understood is a reason, not a guess.

Models that only old benchmarks use (LLaMA 1, MPT, StableLM Alpha ...) have their shapes here, from their config.json on the hub;
all others come from the catalogue.
"""

import re
from functools import cache

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
    "vicuna-7b": "llama-7b", "koala-13b": "llama-13b", "wizardlm-33b": "llama-33b", "stablelm alpha 3b": "stablelm-alpha-3b",
    "llama-2-7b-chat": "llama-2-7b", "deepseek-coder-33b": "deepseek-33b",
}  # fmt: skip
"""names of the same shapes"""


@cache
def model(name: str) -> Model:
    """The Model of a published name; endings that say only the tuning or the format are dropped."""
    short = name.lower().strip()
    short = re.sub(r"-(gptq-int[48]|awq|gptq|fp8|base|instruct|chat)\b", "", short)
    short = re.sub(r"-(base|instruct|chat)$", "", short)
    short = _SAME.get(name.lower().strip(), _SAME.get(short, short))
    found = from_catalogue(name) or from_catalogue(short) or _SHAPES.get(short)
    if found is None:
        raise Unmapped(f"model {name} is not in the catalogue")
    return found


def from_catalogue(name: str) -> Model | None:
    """None where the catalogue does not know it."""
    return catalog.find_model(name) if catalog.has_model(name) else None


_CARDS = {"H20": "H20 96GB"}
"""published names that the catalogue calls otherwise"""


@cache
def device(gpu: str, memory: str) -> Device:
    """The Device of a published card name; `memory` in GB tells variants of one name apart."""
    gpu = _CARDS.get(gpu, gpu)
    size = memory.removesuffix(".0").strip()
    reason = ""
    sized = f"{gpu} {size} GB" if size else gpu
    for name in (sized, gpu, f"{gpu} {size}GB", re.sub(r" \d+ ?GB$", "", gpu)):
        try:
            found = catalog.card(name)
        except OnecardError as error:
            reason = reason or str(error).splitlines()[0]
            continue
        # "RTX 3080" with 12 GB is another card than the first RTX 3080: the memory must agree within a tenth.
        if not size or abs(found.memory_total / (float(size) * 1024**3) - 1) < 0.1 or found.unified:
            return found
        reason = f"{name} has {found.memory_total / 1024**3:.0f} GiB, the row says {size} GB"
    raise Unmapped(f"card {gpu}: {reason}")


def device_of(row: Row) -> Device:
    """The card of a row."""
    return device(row["gpu"], row["vram_gb"])
