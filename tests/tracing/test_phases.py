"""Where memory belongs: phases, categories and modules of a training step."""

import pytest
import torch
from small_models import GPT


def build(frozen=False):
    net = GPT(layers=2).cuda()
    if frozen:
        net.token.requires_grad_(False)
    made = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
    ids = torch.zeros(2, 16, dtype=torch.long, device="cuda")

    def step():
        net(ids).backward()
        made.step()
        made.zero_grad()

    return step


@pytest.mark.slow
def test_categories_add_up_to_the_bytes_of_the_model(trace_of):
    weights = sum(p.numel() for p in GPT(layers=2).parameters()) * 4
    cost = trace_of(build).cost()
    held = {p.name: {q.name: q.bytes.likely for q in p.parts} for p in cost.phases}
    assert list(held) == ["build", "forward", "backward", "optimizer"]
    assert held["build"]["weights"] == weights
    assert held["optimizer"]["gradients"] == weights
    steps = (
        sum(1 for _ in GPT(layers=2).parameters()) * 4
    )  # a counter of each parameter lies on the host unless capturable
    assert 2 * weights <= held["forward"]["optimizer"] <= 2 * weights + steps
    assert held["forward"]["activations"] > 0
    assert held["forward"].get("gradients", 0) == 0  # zero_grad drops them


@pytest.mark.slow
def test_storages_carry_the_names_of_their_modules(trace_of):
    events = trace_of(build).cost().events
    modules = {module for category, module, operator in events.names if category == "activations"}
    assert {"blocks.0.up", "blocks.1.qkv", "norm", "GPT"} <= modules
    backward = {module for category, module, operator in events.names if "backward" in operator}
    assert "blocks.1" in backward or "blocks.1.down" in backward or any(m.startswith("blocks.1") for m in backward)


@pytest.mark.slow
def test_two_steps_are_enough(trace_of):
    from onecard.predict.replay import replay

    peaks = [replay(trace_of(build, steps=n).cost().events) for n in (1, 2, 4)]
    assert peaks[1].peak_reserved == peaks[2].peak_reserved
    last_forward = [[p for p in r.phases if p.name == "forward"][-1].allocated for r in peaks]
    assert last_forward[0] < last_forward[1] == last_forward[2]
    assert peaks[1].peak_allocated == peaks[2].peak_allocated
