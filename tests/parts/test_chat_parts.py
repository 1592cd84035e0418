"""A conversation's parts in every engine: which hold when, and what draft models, images and bad formats do."""

import pytest

from onecard.catalog import model
from onecard.core.errors import BadSetting, UnknownName
from onecard.parts.vision import tower_activations, tower_bytes
from onecard.workloads.chat import Engine, Settings, cost, model_of

MiB, GiB = 2**20, 2**30


def peak(**given):
    found = cost(Settings(**{"model": "llama-3.1-8b", "context": 4096, **given}))
    return max(p.memory().likely for p in found.phases)


@pytest.mark.parametrize("engine", Engine.__args__)
def test_every_engine_holds_at_least_its_weights_and_cache(engine):
    quant = "q4_0" if engine == "llama.cpp" else "bf16" if engine in ("transformers", "vllm") else "gptq-int4"
    assert peak(engine=engine, quant=quant) > 4.0 * GiB + 0.49 * GiB
    assert peak(engine=engine, quant=quant, batch=4, context=8192) > peak(engine=engine, quant=quant)


def test_a_draft_model_adds_its_weights_and_cache():
    alone, both = peak(quant="q4_k_m"), peak(quant="q4_k_m", draft="llama-3.2-1b")
    assert 0.75 * GiB < both - alone < 1.2 * GiB


def test_images_bring_the_tower_along():
    # mmproj-model-f16.gguf of gemma-3-4b is 851 MB; its compute buffer without flash attention is printed as 1132 MiB
    vision = model("gemma-3-4b").vision
    assert tower_bytes(vision, 2560) == pytest.approx(851e6, rel=0.02)
    assert tower_activations(vision) == pytest.approx(1132 * MiB, rel=0.15)
    assert peak(model="gemma-3-4b", quant="q8_0", images=1) > peak(model="gemma-3-4b", quant="q8_0") + 0.7 * GiB


def test_coarser_caches_take_less():
    sizes = [peak(quant="q4_0", context=32768, kv_type=t) for t in ("f32", "f16", "q8_0", "q5_1", "q4_0")]
    assert sizes == sorted(sizes, reverse=True)


def test_a_quantised_cache_switches_flash_attention_on():
    off = peak(quant="q4_0", context=32768, kv_type="q8_0", flash_attention=False)
    assert off == peak(quant="q4_0", context=32768, kv_type="q8_0", flash_attention=True)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"context": 0}, BadSetting),
        ({"context": -1}, BadSetting),
        ({"kv_type": "q9"}, BadSetting),
        ({"engine": "transformers", "quant": "bf16", "kv_type": "q9"}, BadSetting),
        ({"quant": "q4_z"}, UnknownName),
        ({"engine": "vllm", "quant": "q4_k_m"}, UnknownName),
        ({"model": "lama-3"}, UnknownName),
    ],
)
def test_bad_settings_are_refused_clearly(given, error):
    with pytest.raises(error) as raised:
        peak(**{"quant": "q4_0", **given})
    assert raised.value.next or raised.value.why


def test_vllm_says_what_it_reserves():
    found = cost(Settings(model="llama-3.1-8b", engine="vllm", quant="bf16", context=4096, gpu_memory_utilization=0.8))
    assert found.extra["reserves"] == 0.8
    # 32 layers x 8 heads x 128 x K and V x 2 bytes
    assert found.extra["kv_bytes_per_token"] == 131072


def test_a_model_is_looked_up_once():
    assert model_of("llama-3.1-8b") is model_of("llama-3.1-8b")


def test_int8_on_a_processor_loses_memory_to_its_wide_products():
    """smollm2-135m, 192 tokens: a heap of 143 MiB grew to 222 while the prompt was read (mallinfo2), 79 MiB of it free."""
    from onecard.core.settings import make
    from onecard.workloads import chat

    def lost(quant: str, tokens: int) -> float:
        values = {"model": "smollm2-135m", "engine": "transformers", "quant": quant, "context": 256}
        found = chat.cost(make(chat.Settings, {**values, "prompt_tokens": tokens}))
        return sum(p.bytes.likely for p in found.phases[0].parts if p.only == "cpu" and "holes" in p.equation)

    assert 0.5 * lost("int8", 192) < 79 * 2**20 < 1.6 * lost("int8", 192)
    assert lost("int8", 96) == pytest.approx(lost("int8", 192) / 2)
    assert lost("bf16", 192) == lost("nf4", 192) == 0
