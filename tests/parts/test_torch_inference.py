"""Peaks of torch's allocator in published measurements, and the laws behind them."""

import pytest

from onecard.catalog import model
from onecard.core.errors import UnknownName
from onecard.parts.torch_engines import other_phases
from onecard.parts.torch_inference import transformers_phases
from onecard.parts.torch_weights import base_format, weight_bytes

GiB = 2**30


def peak(name, quant, prompt, version, output=2048, **more):
    phases = transformers_phases(
        model(name), quant, prompt=prompt, context=prompt + output, attention="flash", version=version, **more
    )
    return max(p.total for p in phases) / GiB


# Qwen's pages: sum of max_memory_allocated / 2^30 (qwen.readthedocs.io, speed benchmarks of Qwen1.5, Qwen2 and Qwen2.5).
PAGES = [
    ("qwen1.5-0.5b", "bf16", 30720, "4.37", 30.04),
    ("qwen1.5-1.8b", "gptq-int4", 6144, "4.37", 8.52),
    ("qwen2-7b", "bf16", 1, "4.38", 14.92),
    ("qwen2-7b", "bf16", 30720, "4.38", 42.62),
    ("qwen2-7b", "awq-int4", 14336, "4.38", 18.72),
    ("qwen2.5-7b", "bf16", 30720, "4.46", 19.97),
    ("qwen2.5-14b", "gptq-int8", 14336, "4.46", 19.98),
    ("qwen2.5-32b", "gptq-int4", 30720, "4.46", 31.84),
    ("qwen2.5-0.5b", "awq-int4", 1, "4.46", 0.68),
]


@pytest.mark.parametrize(("name", "quant", "prompt", "version", "measured"), PAGES)
def test_published_peaks(name, quant, prompt, version, measured):
    assert peak(name, quant, prompt, version) == pytest.approx(measured, rel=0.02)


def test_old_releases_pay_for_logits_of_the_whole_prompt():
    # 0.9 MB a token with a vocabulary of 152k in 4.38, 0.19 MB in 4.46 (MLP, states and cache)
    for version, grows in (("4.38", 0.977e6), ("4.46", 0.2e6)):
        per_token = (peak("qwen2-7b", "bf16", 30720, version) - peak("qwen2-7b", "bf16", 14336, version)) * GiB / 16384
        assert per_token == pytest.approx(grows, rel=0.02)


def test_eager_attention_is_quadratic_and_fused_is_not():
    def growth(attention):
        small, large = (
            transformers_phases(model("llama-2-7b"), "bf16", prompt=n, context=n, attention=attention)[0].activations
            for n in (4096, 8192)
        )
        return large / small

    assert growth("flash") == pytest.approx(2, rel=0.05)
    assert growth("eager") > 3.5


def test_heads_and_embeddings_stay_in_sixteen_bits():
    shape = model("llama-3.1-8b")
    tables = 2 * 2 * shape.vocab * shape.hidden
    assert weight_bytes(shape, "nf4") > tables + 0.5 * (8.03e9 - tables / 2)
    assert (
        weight_bytes(shape, "nf4-dq")
        < weight_bytes(shape, "nf4")
        < weight_bytes(shape, "int8")
        < weight_bytes(shape, "bf16")
    )


# litgpt prints torch.cuda.max_memory_allocated() / 1e9 (tutorials/resource-tables.md @4839345), 50 new tokens.
@pytest.mark.parametrize(
    ("name", "quant", "measured"),
    [
        ("llama-2-7b", "nf4", 4.57),
        ("llama-2-13b", "nf4-dq", 7.72),
        ("falcon-40b", "nf4", 26.55),
        ("llama-2-7b", "bf16", 13.52),
    ],
)
def test_litgpt_peaks(name, quant, measured):
    phases = other_phases(model(name), "litgpt", quant, prompt=8, context=58, batch=1, version=None)
    assert max(p.total for p in phases) / 1e9 == pytest.approx(measured, rel=0.02)


def test_formats_are_read_with_their_remarks_and_others_are_refused():
    assert base_format("gptq-int4 g128") == "gptq-int4"
    assert base_format("bf16-true") == "bf16"
    with pytest.raises(UnknownName):
        base_format("gptq-int5")


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "tokens"), [("sdpa", 512), ("sdpa", 2048), ("eager", 512), ("eager", 2048)])
def test_reading_is_counted_as_the_installed_transformers_allocates(attention, tokens):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from onecard.core.model import Model
    from onecard.predict.replay import replay
    from onecard.tracing.profiles import profile
    from onecard.tracing.session import trace_steps

    card = profile("sm_90")
    config = transformers.LlamaConfig(
        hidden_size=1024, num_hidden_layers=4, intermediate_size=2816, num_attention_heads=16, num_key_value_heads=4,
        vocab_size=32000, attn_implementation=attention, dtype="bfloat16", pad_token_id=0,
    )  # fmt: skip

    def make():
        with torch.device("cuda"):
            torch.set_default_dtype(torch.bfloat16)
            try:
                network = transformers.LlamaForCausalLM(config).eval()
            finally:
                torch.set_default_dtype(torch.float32)
            ids = torch.zeros(1, tokens, dtype=torch.long)

        def step():
            with torch.no_grad():
                return network(ids, use_cache=True, logits_to_keep=1)

        return step

    traced = replay(trace_steps(make, card, steps=1).storages.events())
    over_start = traced.peak_allocated - traced.phases[0].allocated_after - card.blas_workspace
    shape = Model(
        name="t", family="llama", layers=4, hidden=1024, heads=16, kv_heads=4, head_dim=64, ffn=2816, vocab=32000
    )
    reading, _ = transformers_phases(shape, "bf16", prompt=tokens, context=tokens, attention=attention)
    assert reading.kv_cache + reading.activations == pytest.approx(over_start, rel=0.08)
