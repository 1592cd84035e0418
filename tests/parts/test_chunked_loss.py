import pytest

from onecard.core.settings import make
from onecard.parts import chunked_loss
from onecard.workloads import finetune


@pytest.mark.parametrize(("tokens", "vocab", "hidden"), [(96, 3000, 32), (8, 3000, 512), (64, 40000, 16)])
def test_plain_operators_hold_what_is_counted(tokens, vocab, hidden):
    """TRL's own function without Triton, its storages watched: folding, or (few tokens, wide model) the product's fp32 copies."""
    torch = pytest.importorskip("torch")
    kernel = pytest.importorskip("trl.kernels.chunked_logprob")
    from onecard.tracing.storages import Storages
    from onecard.tracing.tracker import RealTrace, Watcher

    inputs = torch.randn(tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
    head = torch.randn(vocab, hidden, dtype=torch.bfloat16)
    targets = torch.randint(0, vocab, (tokens,))

    def forward():
        return kernel.ChunkedLogProbFunction.apply(
            inputs, head, None, targets, 1.0, chunked_loss.TILE[1], None, 1.0, ("entropy", "is_top1")
        )[0]

    buffer = chunked_loss.buffer(tokens, 2)
    watched = Storages("cpu")
    with torch.autograd.set_multithreading_enabled(False), RealTrace(Watcher(watched)):
        out = forward()
        assert watched.peak == pytest.approx(
            buffer + chunked_loss.plain(tokens, vocab, hidden, 2, backward=False), rel=0.02
        )
        watched.reset_peak()
        out.sum().backward()
        assert watched.peak == pytest.approx(buffer + chunked_loss.plain(tokens, vocab, hidden, 2), rel=0.02)


def test_only_a_processor_folds_with_plain_operators():
    """31 bytes an entry of a tile of 512 x 32768, of which a card (Triton) holds two."""
    values = {"model": "smollm2-135m", "method": "lora", "sequence": 128, "batch": 4, "micro_batch": 4}
    train = finetune.cost(make(finetune.Settings, {**values, "checkpointing": False})).phases[0]
    (fold,) = [p for p in train.parts if p.only == "cpu"]
    assert fold.bytes.likely == pytest.approx(29 * 512 * 32768)
    assert fold.name == "workspace"  # tensors of 64 MiB are mapped apart, the heap keeps nothing of them
    shorter = finetune.cost(make(finetune.Settings, {**values, "sequence": 32, "checkpointing": False})).phases[0]
    assert [p.name for p in shorter.parts if p.only == "cpu"] == ["activations"]


def test_checkpointing_costs_a_processor_holes_in_its_heap():
    """30 layers of 1024 tokens left 446 MiB free in the heap (mallinfo2) after two steps."""
    values = {"model": "smollm2-135m", "method": "lora", "sequence": 512, "batch": 4, "micro_batch": 2}
    train = finetune.cost(make(finetune.Settings, {**values, "checkpointing": True})).phases[0]
    (holes,) = [p for p in train.parts if "holes" in p.equation]
    assert holes.only == "cpu"
    assert holes.bytes.low < 446 * 2**20 < holes.bytes.high


def test_the_gradient_of_a_learnt_head_is_summed_in_fp32():
    """4 bytes for each weight of the head while tiles are summed up, and its cast to bf16 beside it at the end."""
    assert chunked_loss.head_gradient(1000, 10, 2) == (40_000, 60_000)
    assert chunked_loss.head_gradient(1000, 10, 4) == (40_000, 40_000)


def test_a_card_and_a_processor_do_the_head_each_in_its_own_way():
    """Three products of 2 x tokens x vocabulary x width either way; in fp32 only a processor's, and only it maps new tensors."""

    def flops(found, compute):
        return sum(o.flops for o in found if o.kind == "matmul" and o.compute == compute)

    found = chunked_loss.operations(1024, 512, 49152, 576, element=2, learnt=False)
    card, processor = ([o for o in found if o.only in ("", kind)] for kind in ("card", "cpu"))
    product = 2.0 * 1024 * 49152 * 576
    assert (flops(card, "bf16"), flops(card, "fp32")) == (3 * product, 0)
    assert (flops(processor, "bf16"), flops(processor, "fp32")) == (2 * product, product)
    assert [o.kind for o in card] == ["matmul"]
    (new,) = [o for o in processor if o.kind == "map"]
    assert new.written == 19 * 4 * 1024 * 49152
    few = chunked_loss.operations(128, 128, 49152, 576, element=2, learnt=False)
    assert [o.written for o in few if o.kind == "map"] == [0]


def test_old_programs_with_all_logits_do_not_multiply_again():
    old = chunked_loss.operations(512, 512, 32000, 64, element=2, learnt=False, twice=False)
    assert sum(o.flops for o in old if o.only == "card") == 2 * 2.0 * 512 * 32000 * 64
