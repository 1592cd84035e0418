"""Percent of a ceiling: physical limits, counted by hand."""

import pytest

from onecard.api.ceilings import ceilings
from onecard.core.cost import Cost, Operation, Phase
from onecard.core.device import Device
from onecard.core.record import Measurement
from onecard.store.journal import shares

CARD = Device(name="card", kind="cuda", memory_total=1, bandwidth=500e9, flops={"fp16": 80e12, "fp32": 40e12})


def cost(*operations, units=1.0):
    phase = Phase(name="decode", operations=operations, unit="tokens", units=units)
    return Cost(phases=(phase, Phase(name="save")), runtime="torch")


def test_a_model_of_5_gb_is_read_at_most_100_times_a_second():
    found = ceilings(cost(Operation(kind="matmul", read=4e9, written=1e9)), CARD)
    assert found == {"decode_tokens_per_s": {"bandwidth": pytest.approx(100.0)}}


def test_arithmetic_adds_the_time_of_each_unit():
    # 8 TFLOP at 80 T/s and 4 TFLOP at 40 T/s: 0.2 s for 10 tokens
    operations = (
        Operation(kind="matmul", compute="fp16", flops=8e12),
        Operation(kind="attention", compute="fp32", flops=4e12),
    )
    assert ceilings(cost(*operations, units=10), CARD)["decode_tokens_per_s"]["arithmetic"] == pytest.approx(50.0)


def test_an_unknown_peak_gives_no_share_and_host_work_is_not_the_devices():
    assert ceilings(cost(Operation(kind="matmul", compute="fp8", flops=1e12)), CARD) == {}
    assert ceilings(cost(Operation(kind="matmul", read=1e9, place="host")), CARD) == {}


def test_shares_stand_beside_the_measured_rates():
    rate = Measurement(name="decode_tokens_per_s", unit="tokens/s", predicted=None, measured=62.0)
    found = shares([rate], {"decode_tokens_per_s": {"bandwidth": 100.0}})
    assert [(m.name, m.unit, m.measured) for m in found] == [("decode_share_of_bandwidth", "share", 0.62)]
