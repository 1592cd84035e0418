import pytest

torch = pytest.importorskip("torch")

from onecard.nets.gpt import GPT, Shape, rotate, rotation
from onecard.parts.gpt import GptShape

SHAPE = {"vocab": 64, "context": 12, "depth": 3, "width": 32, "heads": 4, "ffn": 64}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return GPT(Shape(**SHAPE))


@pytest.fixture
def tokens():
    return torch.randint(0, 64, (2, 13), generator=torch.Generator().manual_seed(1))


def test_parameters_are_those_that_the_closed_form_counts(net):
    assert sum(p.numel() for p in net.parameters()) == GptShape(**SHAPE).parameters


def test_an_untrained_net_is_as_good_as_guessing(net, tokens):
    loss = net(tokens[:, :-1], tokens[:, 1:])
    assert loss.item() == pytest.approx(torch.log(torch.tensor(64.0)).item(), abs=0.15)


def test_no_position_sees_a_later_one(net, tokens):
    before = net.stream(tokens[:, :12])
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 64
    after = net.stream(changed[:, :12])
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_rotation_makes_attention_depend_on_distances_only():
    cos, sin = rotation(10, 8, 10_000.0)
    q, k = torch.randn(8), torch.randn(8)

    def score(i, j):
        return rotate(q, cos[i], sin[i]) @ rotate(k, cos[j], sin[j])

    assert score(5, 2).item() == pytest.approx(score(9, 6).item(), rel=1e-5)
    assert score(5, 2).item() != pytest.approx(score(5, 3).item(), rel=1e-3)


def test_checkpointing_changes_no_gradient(tokens):
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        net = GPT(Shape(**SHAPE), checkpointing=again)
        net(tokens[:, :-1], tokens[:, 1:]).backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_bf16_keeps_weights_and_gradients_in_fp32(tokens):
    torch.manual_seed(0)
    net = GPT(Shape(**SHAPE), dtype=torch.bfloat16)
    assert net.stream(tokens[:, :4]).dtype == torch.bfloat16
    net(tokens[:, :-1], tokens[:, 1:]).backward()
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {torch.float32}


def test_generate_continues_and_repeats_with_its_seed(net, tokens):
    start = tokens[:1, :3]
    first, second = (net.generate(start, 20, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    other = net.generate(start, 20, generator=torch.Generator().manual_seed(6))
    assert first.shape == (1, 23)
    assert torch.equal(first[:, :3], start)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
