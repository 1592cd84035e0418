"""Operations of chat against counts by hand: bytes, FLOPs, who reads what."""

import pytest

from onecard import catalog
from onecard.parts.chat_work import chat_work
from onecard.parts.generations import generation
from onecard.parts.operations import visited
from onecard.parts.transformer import parameters

LLAMA = "llama-3.1-8b"


def work(model=LLAMA, **options):
    return chat_work(
        catalog.find_model(model), **({"engine": "llama.cpp", "quant": "f16", "prompt_tokens": 512} | options)
    )


def total(operations, field, *kinds):
    return sum(getattr(o, field) for o in operations if o.kind in kinds)


def test_decode_streams_every_weight_but_the_embedding_table():
    model = catalog.find_model(LLAMA)
    table = model.vocab * model.hidden
    streamed = total(work().decode, "read", "matmul")
    assert streamed == pytest.approx(2 * (parameters(model) - table), rel=0.002)


def test_a_tied_head_is_streamed():
    model = catalog.find_model("llama-3.2-1b")
    assert total(work("llama-3.2-1b").decode, "read", "matmul") == pytest.approx(2 * parameters(model), rel=0.002)


def test_decode_does_two_operations_a_weight():
    decode = work().decode
    weights = total(decode, "read", "matmul") / 2
    assert total(decode, "flops", "matmul") == pytest.approx(2 * weights, rel=0.002)


def test_the_cache_is_read_at_its_mean_depth():
    decode = work(prompt_tokens=1000, output_tokens=200).decode
    by_hand = 32 * 2 * 8 * 128 * 2 * 1100
    assert total(decode, "read", "attention") == pytest.approx(by_hand, rel=1e-9)
    half = work(prompt_tokens=1000, output_tokens=200, kv_type="q8_0").decode
    assert total(half, "read", "attention") == pytest.approx(by_hand * 34 / 64, rel=1e-9)


def test_a_window_stops_the_growth():
    near, far = (total(work("gemma-3-12b", prompt_tokens=n).decode, "read", "attention") for n in (20_000, 40_000))
    assert far / near < 1.95
    full = [total(work(prompt_tokens=n).decode, "read", "attention") for n in (20_000, 40_000)]
    assert full[1] / full[0] > 1.99


def test_prefill_multiplies_every_token_and_the_head_once():
    model = catalog.find_model(LLAMA)
    body = parameters(model) - 2 * model.vocab * model.hidden
    flops = total(work().prefill, "flops", "matmul")
    assert flops == pytest.approx(2 * 512 * body + 2 * model.vocab * model.hidden, rel=0.002)
    old = work(engine="transformers", quant="bf16", version="4.38").prefill
    assert total(old, "flops", "matmul") == pytest.approx(2 * 512 * (body + model.vocab * model.hidden), rel=0.002)


def test_prompt_attention_is_a_triangle():
    flops = total(work(prompt_tokens=2048).prefill, "flops", "attention")
    assert flops == pytest.approx(4 * 2048 * 1024 * 32 * 32 * 128, rel=1e-6)


def test_old_builds_turn_quantised_prompts_into_fp16():
    old = work(quant="q4_k_m", version="b2824").prefill
    new = work(quant="q4_k_m", version="b5000").prefill
    assert any(o.kind == "quantize" for o in old)
    assert not any(o.kind == "quantize" for o in new)
    assert {o.compute for o in new if o.kind == "matmul"} == {"int8"}


def test_experts_that_a_batch_visits():
    model = catalog.find_model("mixtral-8x7b")
    assert visited(model, 1) == pytest.approx(2 / 8)
    assert visited(model, 1000) == pytest.approx(1)
    one = total(work("mixtral-8x7b").decode, "read", "matmul")
    assert one == pytest.approx(2 * 12.75e9, rel=0.02)  # 12.9 B active parameters less the embedding table


def test_layers_on_the_host_are_read_there():
    ops = work(gpu_layers=8).decode
    host = sum(o.read for o in ops if o.place == "host" and o.kind == "matmul")
    device = sum(o.read for o in ops if o.place == "device" and o.kind == "matmul")
    head = 128256 * 4096 * 2
    assert host - head == pytest.approx(3 * device, rel=0.001)
    assert sum(o.read for o in work(gpu_layers=8).prefill if o.place == "link") == pytest.approx(3 * device, rel=0.02)


def test_grouped_queries_are_copied_by_old_transformers_only():
    old = work(engine="transformers", quant="bf16", version="4.46").decode
    new = work(engine="transformers", quant="bf16", version="4.57").decode
    assert any(o.label == "repeated KV" for o in old)
    assert not any(o.label == "repeated KV" for o in new)


@pytest.mark.parametrize(
    ("engine", "version", "name"),
    [
        ("llama.cpp", "b1691", "llama.cpp-2023"),
        ("llama.cpp", "b2824", "llama.cpp-2024"),
        ("llama.cpp", "4000", "llama.cpp-mmq"),
        ("llama.cpp", None, "llama.cpp"),
        ("transformers", "4.46.3", "transformers-4.46"),
        ("transformers", "4.38.2", "transformers-4.38"),
        ("vllm", "0.4.2", "vllm-0.4"),
        ("vllm", None, "vllm"),
    ],
)
def test_versions_belong_to_generations(engine, version, name):
    assert generation(engine, version).name == name


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-4b", "deepseek-v2-lite"])
@pytest.mark.parametrize("gpu_layers", [None, 0, 5, -1])
def test_streams_are_the_matrices_one_by_one(name, gpu_layers):
    """Against a plain walk over all tensors: running sums per layer must place the same matrices and bytes."""
    from collections import Counter

    from onecard.catalog import model as find
    from onecard.parts.mixes import gguf_types
    from onecard.parts.quantized import tensor_bytes
    from onecard.parts.streams import streams
    from onecard.parts.transformer import tensors

    model = find(name)
    layers = model.layers if gpu_layers == -1 else gpu_layers
    types, every = gguf_types(model, "q4_k_m"), tensors(model)
    tied = not any(t.role == "output" for t in every)
    counts, sizes = Counter(), Counter()
    for tensor in every:
        head = tensor.role == "output" or (tied and tensor.role == "embedding")
        if (
            len(tensor.shape) < 2
            or tensor.role in ("norm", "bias", "position")
            or (tensor.role == "embedding" and not head)
        ):
            continue
        host = layers is not None and (head or tensor.layer < model.layers - layers)
        key = (tensor.shape[1], tensor.shape[0], types[tensor.name].lower(), "host" if host else "device")
        counts[key] += tensor.shape[2] if len(tensor.shape) > 2 else 1
        sizes[key] += tensor_bytes(types[tensor.name], tensor.shape)
    found_counts, found_sizes = Counter(), Counter()
    for weight in streams(model, "llama.cpp", "q4_k_m", layers):
        found_counts[weight.n, weight.k, weight.format, weight.place] += weight.count
        found_sizes[weight.n, weight.k, weight.format, weight.place] += weight.bytes
    assert found_counts == counts and found_sizes == sizes
