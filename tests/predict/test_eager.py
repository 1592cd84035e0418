"""Pricing of traced operations: limits in the right place, batched products, layouts, and published steps per second."""

import sys
from pathlib import Path

import pytest

from onecard.catalog import find_device
from onecard.core.cost import Cost, Events, Operation, Phase
from onecard.predict import eager, kernels
from onecard.predict.price import price
from onecard.predict.time import time_phase

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

CARD = find_device("RTX 4070 Ti")
SILICON = kernels.SILICON[kernels.silicon_name(CARD)]


def matmul(m, n, k, products=1, compute="bf16", **more):
    flops = 2.0 * m * n * k * products
    size = 2.0 * products
    return Operation(
        kind="matmul", kernel="cublas", compute=compute, flops=flops, read=size * k * (m + n), written=size * m * n,
        launches=1, shape=(m, n, k), **more,
    )  # fmt: skip


def test_a_large_product_is_limited_by_arithmetic_and_a_thin_one_by_memory():
    seconds, limiter = eager.seconds(matmul(8192, 4096, 4096), CARD, SILICON)
    assert limiter == "compute"
    assert 0.6 < 2.0 * 8192 * 4096 * 4096 / seconds / CARD.flops["bf16"] <= 1
    assert eager.seconds(matmul(4, 4096, 4096), CARD, SILICON)[1] == "bandwidth"


def test_a_batch_of_small_products_fills_the_card_as_one_large_one_does():
    one = eager.wave(matmul(128, 128, 64), CARD.multiprocessors)
    many = eager.wave(matmul(128, 128, 64, products=960), CARD.multiprocessors)
    assert many > 4 * one
    assert many <= 1


def test_fp32_without_matrix_units_takes_several_times_as_long():
    fast = eager.seconds(matmul(4096, 4096, 4096, compute="bf16"), CARD, SILICON)[0]
    slow = eager.seconds(matmul(4096, 4096, 4096, compute="fp32"), CARD, SILICON)[0]
    assert slow / fast > 1.5


def test_images_that_lie_channel_by_channel_are_turned_around():
    shape = (2 * 56 * 56 * 64, 64, 576)
    work = Operation(
        kind="convolution", kernel="cudnn", compute="fp16", flops=2.0 * shape[0] * shape[1] * shape[2], read=4e7, written=4e7,
        launches=1, shape=shape,
    )  # fmt: skip
    together = Operation(**{f: getattr(work, f) for f in work.__struct_fields__} | {"kernel": "cudnn/nhwc"})
    assert eager.seconds(work, CARD, SILICON)[0] > eager.seconds(together, CARD, SILICON)[0]


def test_many_tiny_kernels_are_limited_by_the_host():
    tiny = Operation(
        kind="elementwise", kernel="eager", compute="fp32", read=4e5, written=4e5, launches=1000, label="add"
    )
    assert time_phase(Phase(name="forward", operations=(tiny,)), CARD, "torch").limiter == "launches"
    large = Operation(
        kind="elementwise", kernel="eager", compute="fp32", read=4e9, written=4e9, launches=10, label="add"
    )
    assert time_phase(Phase(name="forward", operations=(large,)), CARD, "torch").limiter == "bandwidth"


def test_a_traced_cost_has_steps_per_second():
    phases = tuple(Phase(name=n, operations=(matmul(4096, 4096, 4096),)) for n in ("forward", "backward"))
    estimate = price(
        Cost(phases=phases, runtime="torch", basis="traced", events=Events(sizes=(1024,), order=(0,))), CARD
    )
    rate = estimate.rates["step_steps_per_s"]
    assert rate.likely == pytest.approx(1 / sum(p.seconds.likely for p in estimate.time.values()))
    assert estimate.limiters["step"] == "compute"


def test_published_training_steps_of_attention_nets_within_ten_percent():
    """timm's training rates on an RTX 3090 (PyTorch 1.12), traced and priced."""
    import published_frame
    import published_training

    errors = []
    for row in published_frame.read(published_frame.HERE / "measurements"):
        if row.file == "speed" and row["task"] == "cnn_training" and "timm" in row["source"] and "vit" in row["model"]:
            mapped = published_training.training_rate(row)
            errors.append(abs(mapped.predicted.likely / mapped.measured - 1))
    assert len(errors) >= 6
    assert max(errors) < 0.12
