"""Which attention kernel a card takes: the rules of sdp_utils.cpp, case by case."""

import pytest

from onecard.tracing.attention import Request, choose

HALF = {"dtype": "bfloat16", "query": (2, 8, 128, 64), "key": (2, 8, 128, 64), "value": (2, 8, 128, 64), "causal": True}
CUDNN = 91900


def kernel(capability, cudnn=CUDNN, **changes):
    return choose(Request(**{**HALF, **changes}), capability, cudnn)


def sizes(head, tokens=128, keys=None, key_heads=8):
    return {
        "query": (2, 8, tokens, head),
        "key": (2, key_heads, keys or tokens, head),
        "value": (2, key_heads, keys or tokens, head),
    }


@pytest.mark.parametrize(
    ("capability", "changes", "expected"),
    [
        ((8, 9), {}, "flash"),
        ((9, 0), {}, "cudnn"),
        ((12, 0), {}, "flash"),
        ((7, 5), {"dtype": "float16"}, "efficient"),
        ((7, 5), {}, "math"),  # bfloat16 on Turing
        ((8, 9), {"dtype": "float32"}, "efficient"),
        ((8, 9), {"dtype": "float64"}, "math"),
        ((8, 9), {"mask": True, "causal": False}, "efficient"),
        ((9, 0), {"dropout": 0.1}, "flash"),  # not a sixteenth
        ((9, 0), {"dropout": 0.125}, "cudnn"),
        ((9, 0), sizes(256) | {"grad": True}, "flash"),
        ((8, 9), sizes(256) | {"grad": True, "dropout": 0.1}, "efficient"),
        ((8, 9), sizes(224) | {"grad": True}, "efficient"),
        ((8, 9), sizes(256) | {"grad": True}, "flash"),
        ((8, 0), sizes(224) | {"grad": True}, "flash"),
        ((8, 9), sizes(64, tokens=1, keys=100), "efficient"),  # causal with unequal lengths
        ((8, 9), sizes(64, key_heads=2) | {"grouped": True}, "flash"),
        ((8, 9), {"query": (8, 128, 64)}, "math"),
        ((8, 9), {"enabled": frozenset({"math"})}, "math"),
        ((8, 9), {"dtype": "float32"} | sizes(30), "math"),  # 30 is no multiple of 4
    ],
)
def test_the_kernel_that_a_card_takes(capability, changes, expected):
    assert kernel(capability, **changes) == expected


def test_hopper_with_an_older_cudnn_takes_flash():
    assert kernel((9, 0), cudnn=91500) == "flash"


@pytest.mark.parametrize(("card_class", "name"), [("sm_90", "cudnn"), ("sm_89", "flash"), ("sm_75", "efficient")])
def test_the_kernel_that_is_called_is_the_chosen_one(trace_of, card_class, name):
    import torch

    def build():
        q = torch.randn(1, 2, 64, 64, device="cuda", dtype=torch.float16, requires_grad=True)
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q).sum().backward()

    trace = trace_of(build, card_class)
    assert trace.attention == {name: 2}
    assert any(f"{name}_attention_backward" in key[1] for key in trace.operations.rows)
