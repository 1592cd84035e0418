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


def test_masks_made_of_constants_are_known(trace_of):
    """As detectors build the masks of their denoising queries."""

    def program():
        mask = torch.zeros(2, 200, 1, device="cuda")
        mask[:, 100:] = 1
        return torch.nonzero((1 - mask).squeeze(-1)).shape[0], torch.nonzero(torch.empty(3, 50, device="cuda")).shape[0]

    answer, values = run(trace_of, program)
    assert answer == (200, 150)  # 2 x 100 known; 3 x 50 of memory that nobody wrote
    assert values.placeholders["nonzero"] == 2


def test_a_constant_that_was_changed_by_unknown_numbers_is_unknown(trace_of):
    def program():
        x, y = torch.zeros(50, device="cuda"), torch.zeros(50, device="cuda")
        x += torch.randn(50, device="cuda")
        big = torch.zeros(40000, device="cuda")
        torch._foreach_add_([y, big], [torch.randn(50, device="cuda"), big])
        return torch.nonzero(x).shape[0], torch.nonzero(y).shape[0]

    assert run(trace_of, program)[0] == (50, 50)


def test_numbers_are_finite_and_checks_of_all_of_them_pass(trace_of):
    def program():
        x = torch.randn(64, 4, device="cuda")
        checks = torch.isfinite(x).all(), (x[:, 2:] >= x[:, :2]).all(), torch.isfinite(x.mean())
        alarms = torch.isnan(x).any(), torch.isinf(x.sum()), (x > 1e9).any()
        return [bool(c) for c in checks], [bool(a) for a in alarms]

    assert run(trace_of, program)[0] == ([True] * 3, [False] * 3)


def test_sampled_tokens_do_not_end_a_loop(trace_of):
    def program():
        token = torch.multinomial(torch.rand(2, 100, device="cuda"), 1)
        return bool((token == 5).all())

    assert run(trace_of, program)[0] is False


def test_equal_compares_what_is_known(trace_of):
    def program():
        a, b = torch.arange(4, device="cuda"), torch.arange(4, device="cuda")
        return (
            torch.equal(a, b),
            torch.equal(a, b + 1),
            torch.equal(torch.rand(99, device="cuda"), torch.zeros(99, device="cuda")),
        )

    answer, values = run(trace_of, program)
    assert answer == (True, False, False)
    assert values.placeholders["equal"] == 2


def test_arrays_hold_what_is_known_and_zeros_elsewhere(trace_of):
    import numpy

    def program():
        known = numpy.asarray(torch.arange(3, device="cuda").cpu())
        unknown = torch.randn(5, 7, device="cuda").cpu().numpy()
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            torch.zeros(2, device="cuda").numpy()
        return known.tolist(), unknown.shape, float(unknown.sum())

    answer, values = run(trace_of, program)
    assert answer == ([0, 1, 2], (5, 7), 0.0)
    assert values.placeholders["numpy"] == 2


def test_the_choice_among_a_vocabulary_is_no_routing(trace_of):
    _, values = run(trace_of, lambda: torch.rand(2, 32000, device="cuda").topk(50).indices)
    assert not values.routed


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
