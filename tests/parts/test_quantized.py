"""Bytes of formats: against the gguf library where it is installed, and against published file sizes."""

import pytest

from onecard.catalog import model
from onecard.core.errors import UnknownName
from onecard.parts.mixes import MIXES, gguf_types
from onecard.parts.quantized import (
    GGUF_BLOCKS,
    awq_bytes,
    cuda_bytes,
    gptq_bytes,
    int8_bytes,
    nf4_bytes,
    row_bytes,
    tensor_bytes,
)
from onecard.parts.transformer import parameters, tensors


def test_blocks_are_those_of_the_library():
    gguf = pytest.importorskip("gguf")
    for type, sizes in gguf.GGML_QUANT_SIZES.items():
        if type.name in GGUF_BLOCKS:
            assert GGUF_BLOCKS[type.name] == sizes, type.name


def test_an_unknown_type_names_the_nearest():
    with pytest.raises(UnknownName) as error:
        row_bytes("Q4_J", 256)
    assert "Q4_0" in error.value.nearest or "Q4_K" in error.value.nearest


@pytest.mark.parametrize(
    ("name", "mix", "gib"),
    [
        ("llama-2-7b", "f16", 12.55), ("llama-2-7b", "q4_0", 3.563), ("llama-2-7b", "q4_k_m", 3.801),
        ("llama-3.1-8b", "f16", 14.96), ("llama-3.1-8b", "q4_k_m", 4.578), ("llama-3.1-8b", "q8_0", 7.950),
    ],
)  # fmt: skip
def test_weights_weigh_what_published_files_do(name, mix, gib):
    shape = model(name)
    types = gguf_types(shape, mix)
    total = sum(tensor_bytes(types[t.name], t.shape) for t in tensors(shape))
    assert total / 2**30 == pytest.approx(gib, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama-2-7b", 6_738_415_616), ("llama-3.1-8b", 8_030_261_248), ("mistral-7b", 7_248_023_552),
        ("qwen2.5-7b", 7_615_616_512), ("gemma-2-9b", 9_241_705_984), ("mixtral-8x7b", 46_702_792_704),
        ("qwen3-8b", 8_190_735_360), ("phi-3-mini", 3_821_079_552), ("gpt2", 124_439_808),
    ],
)  # fmt: skip
def test_tensors_count_the_published_parameters(name, count):
    assert parameters(model(name)) == pytest.approx(count, rel=2e-4)


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_gives_every_tensor_whole_blocks(mix):
    for name in ("llama-3.2-1b", "qwen2.5-0.5b", "falcon-7b", "mixtral-8x7b"):
        shape = model(name)
        types = gguf_types(shape, mix)
        for tensor in tensors(shape):
            assert tensor.shape[0] % GGUF_BLOCKS[types[tensor.name]][0] == 0, (name, mix, tensor.name)


def test_more_bits_weigh_more():
    shape = model("llama-3.1-8b")
    order = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k", "q8_0", "f16", "f32")
    sizes = []
    for mix in order:
        types = gguf_types(shape, mix)
        sizes.append(sum(tensor_bytes(types[t.name], t.shape) for t in tensors(shape)))
    assert sizes == sorted(sizes)


def test_mixes_follow_the_rules_of_the_quantizer():
    shape = model("llama-2-7b")
    types = gguf_types(shape, "q4_k_m")
    assert types["output.weight"] == "Q6_K"
    assert types["token_embd.weight"] == "Q4_K"
    assert types["blk.0.attn_norm.weight"] == "F32"
    # the first and last eighth, and every third between, counted from the first eighth on
    better = {layer for layer in range(32) if types[f"blk.{layer}.ffn_down.weight"] == "Q6_K"}
    assert better == {*range(4), *range(28, 32), *range(6, 28, 3)}
    assert gguf_types(model("llama-2-70b"), "q4_k_m")["blk.10.attn_v.weight"] in ("Q5_K", "Q6_K")
    assert gguf_types(model("mixtral-8x7b"), "q4_k_m")["blk.5.attn_k.weight"] == "Q8_0"
    assert gguf_types(model("llama-3.2-1b"), "q4_k_m")["token_embd.weight"] == "Q6_K"
    # rows of 896 are no multiple of 256
    assert gguf_types(model("qwen2.5-0.5b"), "q4_k_m")["blk.0.attn_q.weight"] == "Q5_0"


def test_rows_on_cuda_are_padded_to_512():
    assert cuda_bytes("Q4_0", (512, 3)) == 128 * -(-512 // 32 * 18 * 3 // 128)
    assert cuda_bytes("Q4_0", (896, 10)) > tensor_bytes("Q4_0", (896, 10)) + 128 // 32 * 18 - 1
    assert cuda_bytes("F16", (896, 10)) == tensor_bytes("F16", (896, 10))


def test_scales_are_counted():
    assert nf4_bytes(4096 * 4096) == 4096 * 4096 // 2 + 4096 * 4096 // 64 * 4 + 64
    assert nf4_bytes(4096 * 4096, double=True) < nf4_bytes(4096 * 4096) * 0.93
    assert int8_bytes(4096, 11008) == 4096 * 11008 + 11008 * 4
    groups = 4096 // 128
    assert awq_bytes(4096, 11008) == 4096 * 11008 // 2 + groups * 11008 // 2 + groups * 11008 * 2
    assert gptq_bytes(4096, 11008) == awq_bytes(4096, 11008) + 4096 * 4


def test_bitsandbytes_stores_what_is_counted():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(512, 1024, dtype=torch.bfloat16)
    for double in (False, True):
        packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
        held = packed.numel() * packed.element_size() + state.absmax.numel() * state.absmax.element_size()
        held += state.code.numel() * 4
        if double:
            held += state.state2.absmax.numel() * 4 + state.state2.code.numel() * 4 + state.offset.numel() * 4
        assert nf4_bytes(512 * 1024, double) == held
