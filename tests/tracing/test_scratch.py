"""Memory that kernels take for themselves: workspaces that stay, scratch that goes, and guesses that say so."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.core.units import MiB
from onecard.predict.peak import traced_memory
from onecard.tracing.profiles import profile
from onecard.tracing.scratch import GUESSED, result_shape, workspace_bytes


def training(width=64):
    import torch

    layer = torch.nn.Linear(width, width, device="cuda")
    return lambda: layer(torch.ones(8, width, device="cuda", requires_grad=True)).sum().backward()


@pytest.mark.parametrize(("card_class", "size"), [("sm_90", 32 * MiB), ("sm_120", 32 * MiB), ("sm_89", 8_519_680)])
def test_training_has_two_blas_workspaces_that_stay(trace_of, card_class, size):
    events = trace_of(training, card_class).cost().events
    numbers = [n for n, label in enumerate(events.labels) if events.names[label][2] == "cuBLAS workspace"]
    assert [events.sizes[n] for n in numbers] == [size, size]
    assert all(events.order.count(n) == 1 for n in numbers)


def test_inference_has_one(trace_of):
    import torch

    def build():
        layer = torch.nn.Linear(8, 8, device="cuda")
        return lambda: layer(torch.ones(8, 8, device="cuda"))

    events = trace_of(build).cost().events
    assert list(events.sizes).count(8_519_680) == 1


def test_the_users_workspace_setting_holds(monkeypatch, trace_of):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert workspace_bytes(":4096:2:16:8") == profile("sm_89").blas_workspace
    assert 16 * 8 * 1024 in trace_of(training).storages.sizes


def test_flash_backward_takes_its_two_accumulators(trace_of):
    import torch

    def build():
        q = torch.randn(2, 4, 100, 40, device="cuda", dtype=torch.float16, requires_grad=True)
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, q, q).sum().backward()

    trace = trace_of(build)
    sizes = [
        trace.storages.sizes[n]
        for n, name in enumerate(trace.storages.operators)
        if name.startswith("scratch of aten::_scaled_dot_product_flash")
    ]
    # softmax_d: batch x heads x 128 x 4; dq: the same x 64 (40 rounded to a multiple of 32); two steps
    assert sizes == [2 * 4 * 128 * 4, 2 * 4 * 128 * 4 * 64] * 2
    assert all(trace.storages.order.count(n) == 2 for n, s in enumerate(trace.storages.sizes) if s in sizes)


def test_a_guess_is_named_and_widens_the_workspace(trace_of):
    import torch

    def build():
        table = torch.nn.Embedding(1000, 64, device="cuda")
        rows = torch.zeros(200_000, dtype=torch.long, device="cuda")
        return lambda: table(rows).sum().backward()

    trace = trace_of(build)
    cost = trace.cost()
    assert any(name.startswith(GUESSED) for _, _, name in cost.events.names)
    assert any("embedding_dense_backward is a guess" in note for note in cost.notes)
    backward = next(p for p in cost.phases if p.name == "backward")
    workspace = next(p for p in backward.parts if p.name == "workspace")
    assert workspace.basis == "guess"
    assert workspace.bytes.high - workspace.bytes.likely == 4 * 200_000 * 8


@pytest.mark.parametrize("transposed", [False, True])
@given(st.data())
def test_the_shape_of_a_convolutions_result_is_torchs(transposed, data):
    import torch

    kernel, stride, dilation, groups = (data.draw(st.integers(1, most)) for most in (5, 3, 2, 2))
    padding = data.draw(st.integers(0, 2))
    more = data.draw(st.integers(0, max(stride, dilation) - 1)) if transposed else 0
    sizes = data.draw(st.tuples(st.integers(12, 20), st.integers(12, 20)))
    if transposed:
        layer = torch.nn.ConvTranspose2d(4, 6, kernel, stride, padding, more, groups, dilation=dilation, device="meta")
    else:
        layer = torch.nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, device="meta")
    images = torch.empty(2, 4, *sizes, device="meta")
    found = result_shape(
        images.shape, layer.weight.shape, [stride] * 2, [padding] * 2, [dilation] * 2, transposed, [more] * 2, groups
    )
    assert found == list(layer(images).shape)


def convolution(**options):
    import torch

    layer = torch.nn.Conv2d(16, 32, 3, padding=1, bias=False, device="cuda").to(**options)
    images = torch.randn(2, 16, 64, 64, device="cuda").to(**options)
    return lambda: layer(images).sum().backward()


def test_what_a_convolution_may_take_widens_the_range_upwards_alone(trace_of):
    from onecard.catalog import find_device

    cost = trace_of(convolution).cost()
    copies = (2 * 16 * 64 * 64 + 2 * 32 * 64 * 64 + 16 * 32 * 9) * 4
    unseen = [p.bytes for phase in cost.phases for p in phase.parts if p.basis == "guess" and p.name == "workspace"]
    assert {(r.low, r.likely, r.high) for r in unseen} == {(0, 0, copies)}
    card = find_device("RTX 4090")
    wide = traced_memory(cost, card)
    without = tuple(msgspec.structs.replace(p, parts=tuple(q for q in p.parts if q.bytes.likely)) for p in cost.phases)
    narrow = traced_memory(msgspec.structs.replace(cost, phases=without), card)
    assert wide.peak_bytes == narrow.peak_bytes + unseen[0]
    assert wide.bases["workspace"] == "guess"
    assert any("up to" in note for note in cost.notes)


def test_images_with_their_channels_together_need_no_copy(trace_of):
    import torch

    together = trace_of(lambda: convolution(memory_format=torch.channels_last))
    assert together.scratch.unseen == 16 * 32 * 9 * 4 < trace_of(convolution).scratch.unseen
