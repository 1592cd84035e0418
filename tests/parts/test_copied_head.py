"""What a CPU copies when the last token of a prompt passes a 16-bit head: seen in torch, and promised by the plan."""

import sys

import pytest

from onecard.execute.meter import high_water, lower_mark, resident
from onecard.parts.chat_parts import torch_phases
from onecard.parts.torch_weights import head_bytes
from tests.engines.tiny_models import MODELS

torch = pytest.importorskip("torch", reason="needs the extra llm")


@pytest.mark.skipif(sys.platform != "linux", reason="exact high-water marks are a feature of Linux")
@pytest.mark.parametrize(
    ("dtype", "batch", "tokens", "copies"),
    [("bfloat16", 1, 8, 1), ("bfloat16", 2, 8, 2), ("float16", 1, 8, 1), ("bfloat16", 1, 1, 0), ("float32", 1, 8, 0)],
)
def test_torch_copies_the_head_once_a_sequence(dtype, batch, tokens, copies):
    head = torch.full((64_000, 512), 0.5, dtype=getattr(torch, dtype))
    hidden = torch.ones(batch, tokens, 512, dtype=head.dtype)
    last = hidden[:, slice(-1, None), :]
    with torch.inference_mode():
        torch.nn.functional.linear(hidden[:, :1].contiguous()[:1], head)  # kernels are loaded now
        before = resident()
        assert lower_mark()
        torch.nn.functional.linear(last, head)
    assert (high_water() - before) / head.nbytes == pytest.approx(copies, abs=0.25)


def promised(prompt, quant="bf16", batch=1):
    phases = torch_phases(
        MODELS["llama"], "transformers", quant=quant, context=64, prompt=prompt, batch=batch, attention="sdpa",
        version=None, kv_type=None, images=0,
    )  # fmt: skip
    return sum(p.bytes.likely for p in phases[0] if p.only == "cpu")


def test_the_plan_has_it_where_torch_does_it():
    size = head_bytes(MODELS["llama"])
    assert promised(32) == size and promised(32, batch=3) == 3 * size and promised(32, "nf4") == size
    assert promised(1) == 0
