"""What a dispatch mode changes in the autograd engine is put right: as many in-place sums as without it."""

import pytest
import torch
from torch._C._profiler import _EventType
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from onecard.tracing.storages import Storages
from onecard.tracing.tracker import RealTrace, Watcher


def branches(x):
    """Gradients meet, as at every residual connection."""
    y = x * 2
    return (y.relu() + functional.leaky_relu(y) + functional.hardtanh(y)).sum()


def backward(make):
    """Runs forward plainly and returns the function that goes back."""
    x = torch.randn(32, 64, requires_grad=True)
    loss = make(x)
    return loss.backward


def index(x):
    rows = torch.tensor([0, 1, 1, 3])
    return (x * 2)[rows].sum()


def largest(x):
    return (x * 2).max(dim=1).values.sum()


def gathered(x):
    return (x * 2).gather(1, torch.zeros(32, 4, dtype=torch.long)).sum()


def entropy(x):
    return functional.binary_cross_entropy_with_logits(x * 2, torch.ones(32, 64), reduction="sum")


def peak_of_profiler(run):
    """Highest bytes of what was born while the profiler looked.

    By address: the profiler reports the death of an older block only where it remembers that address from an earlier session.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [e for e in walk(seen.profiler.kineto_results.experimental_event_tree()) if e.tag == _EventType.Allocation]
    live, peak = {}, 0
    for event in sorted(events, key=lambda e: e.start_time_ns):
        block = event.extra_fields
        if block.alloc_size > 0:
            live[block.ptr] = block.alloc_size
        else:
            live.pop(block.ptr, None)
        peak = max(peak, sum(live.values()))
    return peak


def walk(events):
    for event in events:
        yield event
        yield from walk(event.children)


def peak_of_watcher(run, correct):
    watcher = Watcher(Storages("cpu"), correct=correct)
    with torch.autograd.set_multithreading_enabled(False), RealTrace(watcher):
        run()
    return watcher.storages.peak, watcher.in_place


@pytest.mark.parametrize("make", [branches, index, largest, gathered, entropy])
def test_the_peak_of_backward_is_that_of_a_run_that_nobody_watches(make):
    watcher_peak, in_place = peak_of_watcher(backward(make), correct=True)
    plain = peak_of_profiler(backward(make))
    assert in_place > 0
    assert watcher_peak == pytest.approx(plain, abs=64)  # the loss itself was born before one of them looked


def test_without_the_correction_a_residual_net_seems_to_need_more():
    """The bias that is corrected: were it gone from PyTorch, this test would say so."""
    right, _ = peak_of_watcher(backward(branches), correct=True)
    wrong, in_place = peak_of_watcher(backward(branches), correct=False)
    assert in_place == 0
    assert wrong > right


def test_a_sum_of_the_program_itself_stays_out_of_place():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return (grad * 1) + (grad * 1)

    _, in_place = peak_of_watcher(backward(lambda x: Doubled.apply(x).sum()), correct=True)
    assert in_place == 0
