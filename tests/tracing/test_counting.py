"""Operations counted by a trace, against torch's own counter and against figures by hand."""

import msgspec
import pytest
import torch
from small_models import GPT, Residual
from torch.utils.flop_counter import FlopCounterMode

from onecard.tracing.counting import Counter
from onecard.tracing.storages import Storages
from onecard.tracing.tracker import RealTrace, Watcher


def flops(run):
    counter = Counter()
    with torch.autograd.set_multithreading_enabled(False), RealTrace(Watcher(Storages("cpu"), counter=counter)):
        run()
    return sum(row[1] for row in counter.rows.values()), counter


@pytest.mark.parametrize("name", ["matmul", "convolution"])
def test_flops_are_those_of_torchs_own_counter(name):
    torch.manual_seed(0)
    if name == "matmul":
        net, given = (
            torch.nn.Sequential(torch.nn.Linear(48, 96), torch.nn.GELU(), torch.nn.Linear(96, 8)),
            torch.ones(5, 48),
        )
    else:
        net, given = torch.nn.Sequential(Residual(8), torch.nn.Conv2d(8, 4, 3, 2)), torch.randn(2, 8, 9, 9)

    def run():
        net(given).sum().backward()

    with FlopCounterMode(display=False) as reference:
        run()
    assert flops(run)[0] == reference.get_total_flops()


def test_a_product_reads_its_operands_and_writes_its_result():
    a, b = torch.ones(4, 8), torch.ones(8, 16)
    total, counter = flops(lambda: a @ b)
    ((key, row),) = [(k, r) for k, r in counter.rows.items() if r[1]]
    assert total == 2 * 4 * 8 * 16
    assert key[3] == (4, 16, 8)
    assert row == [1, total, (4 * 8 + 8 * 16) * 4, 4 * 16 * 4, 1]


def test_views_are_no_work_and_a_broadcast_row_is_read_once():
    row = torch.ones(8)
    _, counter = flops(lambda: row.view(2, 4).t().reshape(4, 2)[:1])
    assert sum(r[4] for r in counter.rows.values()) <= 1  # reshape of a transposed view copies
    _, counter = flops(lambda: row.expand(1000, 8) + 1)
    assert sum(r[2] for r in counter.rows.values()) == 8 * 4


@pytest.mark.slow
def test_optimizer_phases_are_counted_as_optimizer(trace_of):
    def build():
        net = GPT().cuda()
        made = torch.optim.AdamW(net.parameters())
        given = torch.zeros(2, 16, dtype=torch.long, device="cuda")

        def step():
            net(given).backward()
            made.step()
            made.zero_grad()

        return step

    phases = {p.name: p for p in trace_of(build).cost().phases}
    assert {o.kind for o in phases["optimizer"].operations} >= {"optimizer"}
    parameters = sum(p.numel() for p in GPT().parameters()) * 4
    by_label = {o.label: o for o in phases["optimizer"].operations}
    assert by_label["_foreach_lerp_"].written == parameters  # one moment, once
    backward = sum(o.flops for o in phases["backward"].operations if o.kind == "matmul")
    forward = sum(o.flops for o in phases["forward"].operations if o.kind == "matmul")
    assert backward == 2 * forward


def test_what_a_checkpoint_computes_again_is_started_by_python(trace_of):
    import torch
    from torch.utils.checkpoint import checkpoint

    from onecard.catalog import find_device
    from onecard.predict.time import time_phase

    def build(again):
        layer = torch.nn.Sequential(*(torch.nn.Linear(8, 8, device="cuda") for _ in range(4)))
        rows = torch.ones(2, 8, device="cuda", requires_grad=True)
        if again:
            return lambda: checkpoint(layer, rows, use_reentrant=False).sum().backward()
        return lambda: layer(rows).sum().backward()

    kept, again = (
        {p.name: p for p in trace_of(lambda again=again: build(again)).cost().phases}["backward"]
        for again in (False, True)
    )
    assert not any("/again" in o.kernel for o in kept.operations)
    added = [o for o in again.operations if "/again" in o.kernel]
    assert sum(o.launches for o in added) == 3  # of four layers: what the last one gives is not asked for again
    card = find_device("RTX 4090")
    extra = time_phase(again, card, "torch").host - time_phase(kept, card, "torch").host
    own = msgspec.structs.replace(again, name="forward", operations=tuple(added))
    assert extra == pytest.approx(time_phase(own, card, "torch").host)


def test_a_view_without_a_name_moves_no_bytes(trace_of):
    import torch

    def build():
        layer = torch.nn.Linear(8, 16, bias=False, device="cuda")
        rows = torch.ones(2, 3, 8, device="cuda")
        return lambda: layer(rows)

    found = [o for p in trace_of(build).cost().phases for o in p.operations if o.label == "_unsafe_view"]
    assert [(o.bytes, o.launches) for o in found] == [(0, 1)]
