"""The name of a file's mix, back from the types of its tensors."""

import msgspec
import pytest

from onecard.catalog import model as find
from onecard.parts import mixes
from onecard.parts.llama_cpp import layout
from onecard.parts.mixes import MIXES, gguf_types, mix_of
from onecard.parts.quantized import tensor_bytes
from onecard.parts.transformer import tensors


def as_file(name, mix, **changed):
    model = find(name)
    types = {**gguf_types(model, mix), **changed}
    return msgspec.structs.replace(model, tensor_types=types, tensor_shapes={t.name: t.shape for t in tensors(model)})


@pytest.mark.parametrize("mix", sorted(MIXES))
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-4b"])
def test_every_mix_is_recognised(name, mix):
    if mix == "mxfp4" and name != "qwen3-30b-a3b":
        pytest.skip("only experts are packed in MXFP4")
    found = mix_of(as_file(name, mix))
    # Some mixes give a model the same types tensor by tensor: then either name is right.
    assert found == mix or gguf_types(find(name), found) == gguf_types(find(name), mix)


def test_a_mix_of_somebody_elses_is_called_like_the_nearest():
    changed = {f"blk.{i}.ffn_down.weight": "Q8_0" for i in range(0, 32, 3)}
    assert mix_of(as_file("llama-3.1-8b", "q4_k_m", **changed)).startswith("q4_k")


@pytest.mark.parametrize(
    "name", ["llama-3.1-8b", "llama-3.3-70b", "mixtral-8x7b", "deepseek-v2-lite", "gemma-3-4b", "falcon-7b"]
)
def test_types_decided_for_a_group_are_those_decided_one_by_one(name):
    model = find(name)
    tied = not any(t.name == "output.weight" for t in tensors(model))
    for mix in MIXES:
        counts = {"v": 0, "v_seen": 0}
        kinds = [(t, mixes._kind(mixes._tail(t.name))) for t in tensors(model)]
        counts["v"] = sum(kind.category in ("v", "qkv", "kv_b") for _, kind in kinds)
        one_by_one = {
            t.name: mixes._type(model, t, kind, mix, tied, counts)
            for t, kind in sorted(kinds, key=lambda each: each[0].layer or 0)
        }
        assert gguf_types(model, mix) == one_by_one, mix


@pytest.mark.parametrize("quant", ["q8_0", "q4_k_m", "q3_k_m", "iq2_m"])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-4b", "deepseek-v2-lite"])
def test_bytes_by_place_are_the_sum_over_the_tensors(name, quant):
    model, types = find(name), gguf_types(find(name), quant)
    sizes = {t.name: tensor_bytes(types[t.name], t.shape) for t in tensors(model)}
    assert layout(model, quant, 0, True).host == sum(sizes.values())
    outside = sum(sizes[t.name] for t in tensors(model) if t.layer is None and t.role != "output")
    for on_device in (1, 2, model.layers // 2, model.layers + 1):
        layers = sum(
            sizes[t.name] for t in tensors(model) if t.layer is not None and t.layer <= model.layers - on_device
        )
        found = layout(model, quant, on_device, True).host - layers
        norm = sum(sizes[t.name] for t in tensors(model) if t.name.startswith("output_norm"))
        assert found == outside - norm, on_device
