"""A device given as numbers."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.catalog import find_device
from onecard.catalog.cards import cards
from onecard.catalog.numbers import FP16_PER_BYTE, device_from_numbers
from onecard.core.errors import BadSetting, OnecardError
from onecard.core.units import GiB


def test_the_example():
    found = device_from_numbers("memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS")
    assert (found.memory_total, found.bandwidth, found.flops["fp16"]) == (12 * GiB, 504e9, 80e12)
    assert found.flops["bf16"] == 80e12
    assert found.kind == "cuda"
    assert "bandwidth" not in found.uncertainty


def test_gb_and_gib_differ():
    assert device_from_numbers("memory=12GB,bandwidth=1GB/s").memory_total == 12 * 10**9
    assert device_from_numbers("memory=12g,bandwidth=1GiB/s").memory_total == 12 * GiB
    assert device_from_numbers("memory=12g,bandwidth=1GiB/s").bandwidth == GiB


def test_spaces_case_and_order_do_not_matter():
    one = device_from_numbers("Memory = 12 GiB , BANDWIDTH = 504 GB/s")
    assert one.memory_total == 12 * GiB


def test_a_missing_rate_is_guessed_with_a_wide_range():
    found = device_from_numbers("memory=12GiB,bandwidth=504GB/s")
    assert found.uncertainty["flops"] >= 0.5
    assert 30e12 < found.flops["fp16"] < 200e12


def test_the_guess_is_the_median_of_the_catalogue():
    known = [
        c
        for c in cards()
        if c.kind == "cuda" and float(c.compute_capability or 0) >= 7 and c.flops.get("fp16", 0) > 1.9 * c.flops["fp32"]
    ]
    ratios = [c.flops["fp16"] / c.bandwidth for c in known]
    assert statistics.median(ratios) == pytest.approx(FP16_PER_BYTE, rel=0.05)
    assert sum(abs(r / FP16_PER_BYTE - 1) <= 0.6 for r in ratios) / len(ratios) > 0.7


def test_reserved_can_be_given():
    assert device_from_numbers("memory=12GiB,bandwidth=504GB/s,reserved=0").usable == 12 * GiB


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("memory=12GiB", "bandwidth"),
        ("bandwidth=504GB/s", "memory"),
        ("memory=12GiB,bandwidth=504", "504"),
        ("memory=12GiB,bandwidth=504GB", "504GB"),
        ("memory=12Gb,bandwidth=504GB/s", "Gb"),
        ("memory=0,bandwidth=504GB/s", "memory"),
        ("memory=-12GiB,bandwidth=504GB/s", "-12GiB"),
        ("memory=12GiB,bandwidth=504GB/s,fp16=80", "80"),
        ("memory=12GiB,bandwith=504GB/s", "did you mean bandwidth"),
        ("memory=12GiB,memory=24GiB,bandwidth=504GB/s", "twice"),
        ("memory=12GiB,bandwidth=504GB/s,kind=tpu", "tpu"),
        ("memory=12GiB,bandwidth=504GB/s,reserved=13GiB", "reserved"),
        ("memory=12GiB,bandwidth=504GB/s,sms=x", "sms"),
        ("memory=,bandwidth=504GB/s", "memory="),
        ("=", "="),
    ],
)
def test_refusals(text: str, says: str):
    with pytest.raises(BadSetting) as raised:
        device_from_numbers(text)
    assert says in str(raised.value)
    assert raised.value.next


@given(st.text(alphabet="memory=bandwidthfp16GiBs/.,0123456789 -", max_size=60))
def test_any_text_is_a_device_or_a_clear_error(text: str):
    try:
        found = find_device(text)
    except OnecardError:
        return
    assert found.memory_total > 0
    assert found.bandwidth > 0
