"""An answer that is remembered is the answer that PyTorch would give."""

import contextlib
import gc
import warnings

import pytest
import torch
from small_models import MODELS, plain
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensor, FakeTensorMode

from onecard.tracing.counting import Counter
from onecard.tracing.remembered import Remembered
from onecard.tracing.storages import Storages
from onecard.tracing.tracker import FakeTrace, Watcher
from onecard.tracing.values import Values

aten = torch.ops.aten


@pytest.fixture
def fake():
    """(Remembered, make): make builds a fake tensor."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def make(*shape, **options):
        with mode:
            return torch.empty(*shape, **options)

    return Remembered(mode), make


def ask(remembered, function, *args, **kwargs):
    """The answer of PyTorch, then the remembered one."""
    return [remembered.run(function, (FakeTensor,), args, kwargs) for _ in range(2)]


def events(make, remember, monkeypatch):
    gc.collect()
    storages, counter = Storages("cpu"), Counter()
    mode = FakeTrace(Watcher(storages, counter=counter, values=Values()))
    if not remember:
        monkeypatch.setattr(mode, "_run", mode.dispatch)
    with warnings.catch_warnings(), torch.autograd.set_multithreading_enabled(False), plain(), mode:
        warnings.simplefilter("ignore")
        step = make("cpu")
        for _ in range(2):
            step(storages.mark)
    return storages.events(), counter.rows


SLOW = ("gpt", "gpt with dropout", "accumulation", "checkpointed", "lstm")


@pytest.mark.parametrize("name", ["cnn", "gan", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_trace_that_remembers_is_the_trace_that_does_not(name, monkeypatch):
    assert events(MODELS[name], True, monkeypatch) == events(MODELS[name], False, monkeypatch)


def test_what_was_asked_before_is_not_asked_again(fake, monkeypatch):
    remembered, make = fake
    a, b = make(4, 8), make(8)
    first = remembered.run(aten.add.Tensor, (FakeTensor,), (a, b), {})
    same, other = (make(4, 8), make(8)), (make(5, 8), make(8))
    monkeypatch.setattr(remembered.mode, "dispatch", None)
    again = remembered.run(aten.add.Tensor, (FakeTensor,), same, {})
    assert again.shape == first.shape == (4, 8)
    assert again.untyped_storage()._cdata != first.untyped_storage()._cdata
    with pytest.raises(TypeError):  # of another shape it has to be asked
        remembered.run(aten.add.Tensor, (FakeTensor,), other, {})


@pytest.mark.parametrize(
    ("function", "shape", "args", "expected"),
    [
        (aten.view.default, (4, 6), ((2, 12),), (2, 12)),
        (aten._unsafe_view.default, (4, 6), ((24,),), (24,)),
        (aten.transpose.int, (4, 6), (0, 1), (6, 4)),
        (aten.expand.default, (4, 1), ((4, 7),), (4, 7)),
        (aten.slice.Tensor, (4, 6), (0, 1, 3), (2, 6)),
    ],
)
def test_a_view_looks_at_its_own_argument(fake, function, shape, args, expected):
    remembered, make = fake
    for _ in range(2):
        tensor = make(*shape)
        view = remembered.run(function, (FakeTensor,), (tensor, *args), {})
        assert view.shape == expected
        assert view.untyped_storage()._cdata == tensor.untyped_storage()._cdata
    assert view.storage_offset() == (6 if function is aten.slice.Tensor else 0)


def test_parts_of_a_tensor_share_its_storage(fake):
    remembered, make = fake
    tensor = make(4, 6)
    asked, again = ask(remembered, aten.split.Tensor, tensor, 3, 1)
    assert type(asked) is type(again)
    for parts in (asked, again):
        assert [p.storage_offset() for p in parts] == [0, 3]
        assert {p.untyped_storage()._cdata for p in parts} == {tensor.untyped_storage()._cdata}


def test_what_writes_in_place_returns_its_argument(fake):
    remembered, make = fake
    for _ in range(2):
        tensor = make(3)
        assert remembered.run(aten.mul_.Tensor, (FakeTensor,), (tensor, 2.0), {}) is tensor


def test_an_integer_a_number_and_a_truth_are_three_questions(fake):
    remembered, make = fake
    whole = make(3, dtype=torch.int64)
    for other, dtype in ((1, torch.int64), (1.0, torch.float32), (True, torch.int64)):
        for found in ask(remembered, aten.mul.Tensor, whole, other):
            assert found.dtype == dtype


def test_order_in_memory_is_a_part_of_the_question(fake):
    remembered, make = fake
    images = make(2, 3, 4, 4)
    turned = make(2, 3, 4, 4, memory_format=torch.channels_last)
    for tensor in (images, turned):
        for found in ask(remembered, aten.relu.default, tensor):
            assert found.stride() == tensor.stride()


def test_named_results_keep_their_names(fake):
    remembered, make = fake
    for found in ask(remembered, aten.native_layer_norm.default, make(4, 8), [8], make(8), make(8), 1e-5):
        assert [tuple(t.shape) for t in found] == [(4, 8), (4, 1), (4, 1)]
    kinds = {
        type(found) for found in ask(remembered, aten.native_layer_norm.default, make(4, 8), [8], None, None, 1e-5)
    }
    assert len(kinds) == 1


@pytest.mark.parametrize(
    ("function", "tensor"),
    [
        (aten.nonzero.default, {"dtype": torch.bool}),
        (aten.abs.default, {"dtype": torch.complex64}),
        (aten.t_.default, {}),
        (aten.bincount.default, {"dtype": torch.int64}),
    ],
)
def test_what_is_not_plain_is_asked_each_time(fake, function, tensor):
    remembered, make = fake
    tensors = [make(4, 4, **tensor) for _ in range(2)]
    asked = []
    dispatch = remembered.mode.dispatch
    remembered.mode.dispatch = lambda *call: (asked.append(call[0]), dispatch(*call))[1]
    for each in tensors:
        with contextlib.suppress(DynamicOutputShapeException):
            remembered.run(function, (FakeTensor,), (each,), {})
    assert asked == [function, function]


def test_a_foreach_operator_in_place_is_not_taken_apart(fake):
    remembered, make = fake
    tensors = [make(3) for _ in range(4)]
    remembered.mode.dispatch = None
    assert remembered.run(aten._foreach_add_.Scalar, (FakeTensor,), (tensors, 1.0), {}) is None


def test_a_foreach_operator_that_makes_tensors_makes_each(fake):
    remembered, make = fake
    for found in ask(remembered, aten._foreach_sqrt.default, [make(3), make(5)]):
        assert [tuple(t.shape) for t in found] == [(3,), (5,)]
        assert len({t.untyped_storage()._cdata for t in found}) == 2


def test_a_tensor_made_again_is_a_fake_of_the_same_mode(fake):
    remembered, make = fake
    with remembered.mode:
        first, again = ask(remembered, aten.mul.Tensor, make(3), 2.0)
    assert type(again) is FakeTensor
    assert again.fake_mode is first.fake_mode
    assert again.device == first.device
    assert again.__dict__.keys() == first.__dict__.keys()
