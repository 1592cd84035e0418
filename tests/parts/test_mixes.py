"""The name of a file's mix, back from the types of its tensors."""

import msgspec
import pytest

from onecard.catalog import model as find
from onecard.parts.mixes import MIXES, gguf_types, mix_of
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
