"""TRL's loss in a trace: no tensors beside its tile, as with its Triton kernels."""

import importlib

import pytest

pytest.importorskip("trl")


@pytest.mark.slow
def test_nothing_as_large_as_a_tile_is_made_but_the_tile(trace_of):
    import torch

    importlib.import_module("trl.trainer.sft_trainer")  # what it imports later asks for the card
    from trl.kernels import chunked_logprob

    tokens, vocab, width, tile = 64, 3000, 16, 1024
    plain = chunked_logprob._backward_tile

    def build():
        hidden = torch.randn(tokens, width, dtype=torch.bfloat16, device="cuda", requires_grad=True)
        head = torch.randn(vocab, width, dtype=torch.bfloat16, device="cuda")
        targets = torch.zeros(tokens, dtype=torch.long, device="cuda")
        outputs = ("entropy", "is_top1")

        def step():
            found = chunked_logprob.ChunkedLogProbFunction.apply(
                hidden, head, None, targets, 1.0, tile, None, 1.0, outputs
            )
            found[0].sum().backward()

        return step

    trace = trace_of(build)
    known = (vocab * width * 2, 8_519_680)  # the head, the workspace of cuBLAS
    large = [size for size in trace.storages.sizes if size >= tokens * tile * 2 and size not in known]
    assert set(large) == {tokens * tile * 2}  # one buffer forward and one backward, each step
    assert len(large) == 4
    assert chunked_logprob._backward_tile is plain
    assert not trace.notes
