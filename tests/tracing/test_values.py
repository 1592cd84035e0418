"""Programs that look at values run to their end on fake tensors, and what was guessed is known to be guessed."""

import pytest
import torch


def run(trace_of, function, **options):
    seen = []
    trace = trace_of(lambda: lambda: seen.append(function()), **options)
    return seen[-1], trace.values


def test_what_a_program_made_itself_is_known(trace_of):
    def program():
        lengths = torch.tensor([3, 5, 2], device="cuda")
        return (
            int(lengths.max()),
            bool((lengths > 4).any()),
            (torch.arange(8, device="cuda") < lengths[1]).nonzero().shape[0],
        )

    answer, values = run(trace_of, program)
    assert answer == (5, True, 5)
    assert not values.placeholders


def test_in_place_changes_are_followed(trace_of):
    def program():
        count = torch.zeros((), dtype=torch.long, device="cuda")
        for _ in range(3):
            count += 2
        flags = torch.empty(2, dtype=torch.bool, device="cuda")
        flags.fill_(True)
        return count.item(), bool(flags.all())

    assert run(trace_of, program)[0] == (6, True)


@pytest.mark.parametrize(("share", "rows"), [(1.0, 100), (0.25, 25)])
def test_a_mask_from_data_selects_the_share_that_was_asked_for(trace_of, share, rows):
    def program():
        x = torch.randn(100, 4, device="cuda")
        return x[x.sum(1) > 0].shape[0]

    answer, values = run(trace_of, program, unknown=share)
    assert answer == rows
    assert values.placeholders["nonzero"] == 2


def test_a_loss_that_is_read_is_a_placeholder(trace_of):
    answer, values = run(trace_of, lambda: torch.randn(8, device="cuda").mean().item())
    assert answer == 1.0
    assert values.placeholders["item"] == 2


def test_routing_is_balanced_unless_the_worst_case_is_asked_for(trace_of):
    from onecard.tracing.values import Values

    def program():
        scores = torch.randn(64, 8, device="cuda")
        chosen = scores.topk(2, dim=-1).indices
        return [(chosen == expert).nonzero().shape[0] for expert in range(8)]

    answer, values = run(trace_of, program)
    assert answer == [16] * 8
    assert values.routed
    worst = Values(routing="worst")._routes(torch.empty(64, 2), (torch.empty(64, 8), 2))
    assert worst.tolist() == [[0, 1]] * 64


@pytest.mark.slow
def test_generate_ends_after_its_tokens(trace_of):
    transformers = pytest.importorskip("transformers")
    from small_models import llama_config

    def build():
        model = transformers.LlamaForCausalLM(llama_config()).to("cuda").eval()
        ids = torch.zeros(1, 8, dtype=torch.long, device="cuda")
        return lambda: shapes.append(model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0).shape)

    shapes = []
    trace_of(build)
    assert shapes == [(1, 14), (1, 14)]
