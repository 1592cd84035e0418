import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onecard.core.settings import make
from onecard.parts.course import plan_course, within
from onecard.parts.gpt import GptShape, gpt_saved
from onecard.parts.training import Saved, worst_moment
from onecard.workloads import pretrain

CASES = [
    {"depth": 8, "batch": 32, "micro_batch": 32},
    {"depth": 8, "batch": 32, "micro_batch": 8},
    {"depth": 8, "context": 1024, "batch": 8, "micro_batch": 8, "checkpointing": True},
    {"depth": 12, "context": 512, "batch": 4, "micro_batch": 4, "vocab": 50304},
    {"depth": 4, "batch": 32, "micro_batch": 32, "precision": "fp32"},
]


@pytest.mark.slow
@pytest.mark.parametrize("values", CASES, ids=str)
def test_the_closed_form_is_what_the_trace_of_the_same_step_holds(values):
    pytest.importorskip("torch")
    if sys.platform != "linux":
        pytest.skip("fake CUDA without a GPU is Linux only")
    values = {"compile": False, "steps": 100, **values}
    source = Path(__file__).parent.parent.parent / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(Path(__file__).with_name("traced_gpt.py")), json.dumps(values)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, env=environment, check=True)
    traced = json.loads(done.stdout)
    traced.pop("context", None)
    phase = pretrain.cost(make(pretrain.Settings, values)).phases[0]
    counted = {p.name: p.bytes.likely for p in phase.parts}
    assert counted["optimizer"] == pytest.approx(traced["optimizer"], rel=0.001)
    assert counted["workspace"] == pytest.approx(traced["workspace"], rel=0.01)
    assert sum(counted.values()) == pytest.approx(sum(traced.values()), rel=0.01)


def test_the_peak_moves_from_the_loss_to_the_optimizer():
    """Many tokens: activations rule. One token: the gradients at the end do."""
    saved = Saved(layer=100.0, layer_input=10.0, layer_work=5.0, ends=20.0, loss=50.0)
    options = {"layers": 4, "layer_gradients": 1000.0, "other_gradients": 500.0, "checkpointing": False}
    many = worst_moment(saved, tokens=1000.0, accumulating=False, **options)
    assert (many.where, many.activations, many.gradients) == ("loss", 1000 * (400 + 70), 0.0)
    one = worst_moment(saved, tokens=1.0, accumulating=False, **options)
    assert (one.where, one.gradients) == ("backward", 4500.0)
    assert one.activations == 105.0
    kept = worst_moment(saved, tokens=1000.0, accumulating=True, **options)
    assert kept.gradients == 4500.0


def test_checkpointing_keeps_inputs_and_one_layer():
    saved = Saved(layer=100.0, layer_input=10.0, layer_work=5.0, ends=0.0, loss=0.0)
    found = worst_moment(
        saved, tokens=1.0, layers=4, layer_gradients=0.0, other_gradients=0.0, accumulating=False, checkpointing=True
    )
    assert found.activations == 4 * 10 + 100 + 5


def test_bf16_halves_what_is_not_fp32_by_nature():
    shape = GptShape(vocab=256, context=64, depth=2, width=128, heads=2, ffn=384)
    half, full = gpt_saved(shape, 2), gpt_saved(shape, 4)
    assert full.layer - half.layer == 2 * (6 * 128 + 4 * 384)
    assert full.loss == half.loss


def test_a_course_trains_on_the_tokens_that_were_asked_for():
    shape = GptShape(vocab=4096, context=256, depth=8, width=512, heads=8, ffn=1408)
    course = plan_course(shape, ratio=20.0)
    tokens = course.steps * course.tokens_per_step
    assert tokens == pytest.approx(20 * shape.parameters, rel=0.01)
    assert course.batch & (course.batch - 1) == 0
    assert course.batch % course.micro == 0


def test_nanochats_batch_comes_out_at_its_size():
    """0.5 M tokens a step at 11.2 G tokens (d20)."""
    shape = GptShape(vocab=65536, context=2048, depth=20, width=1280, heads=10, ffn=3456)
    assert plan_course(shape, ratio=20.0).tokens_per_step == 524_288


def test_within_never_plans_more_than_the_time_or_the_ratio_allow():
    shape = GptShape(vocab=320, context=64, depth=2, width=128, heads=2, ffn=384)
    course = plan_course(shape, ratio=20.0, steps=1000, batch=8)
    short = within(course, seconds=100.0, done=20, step_seconds=1.0)
    assert short.steps == 20 + 97
    assert short.every == 12
    assert within(course, seconds=1e9, done=20, step_seconds=1.0).steps == 1000
    assert within(course, seconds=-5.0, done=20, step_seconds=1.0).steps == 21
    assert within(course, seconds=5.0, done=20, step_seconds=None) is course
