"""From a driver's words to a Device: the exact row of the catalogue, or an honest guess; never a neighbour's numbers."""

import pytest

from onecard.catalog import card as catalogue
from onecard.machine.naming import ARCHITECTURES, by_capability, from_nvml, from_row, row
from onecard.machine.nvml import Card

MiB, GiB = 1024**2, 1024**3


def test_a_known_card_has_its_row_and_the_drivers_memory():
    told = Card(index=0, name="NVIDIA GeForce RTX 4070 Ti", memory_total=12282 * MiB, memory_free=11000 * MiB,
                compute_capability="8.9", power_limit=200.0, link_generation_max=4, link_width_max=8)  # fmt: skip
    device = from_nvml(told, {"host_total": 32 * GiB})
    known = catalogue("RTX 4070 Ti")
    assert device.name == known.name and device.bandwidth == known.bandwidth and device.flops == known.flops
    assert device.memory_free == 11000 * MiB and device.host_total == 32 * GiB
    assert device.power == 200.0 and device.link == pytest.approx(
        15.75e9, rel=0.01
    )  # this board's, not the data sheet's
    assert device.sources["power"] == "NVML"


def test_two_cards_of_one_name_are_told_apart_by_their_memory():
    twelve, eight = (row("NVIDIA GeForce RTX 3060", m * MiB) for m in (12288, 8192))
    assert twelve.bandwidth > eight.bandwidth


def test_a_row_of_another_size_is_not_taken():
    assert row("NVIDIA GeForce RTX 4070 Ti", 24 * GiB) is None


def test_an_unknown_card_is_a_guess_that_says_so():
    told = Card(index=0, name="NVIDIA GeForce RTX 9090 Ti", memory_total=48 * GiB, memory_free=47 * GiB, compute_capability="8.9",
                clock_max=2.5e9, memory_clock_max=10e9, bus_width=384, cuda_cores=12800)  # fmt: skip
    device = from_nvml(told, {})
    assert device.bandwidth == pytest.approx(2 * 10e9 * 384 / 8)
    assert device.flops["fp32"] == pytest.approx(2 * 12800 * 2.5e9) and device.multiprocessors == 100
    assert "guess" in device.sources["flops"] and device.uncertainty["flops"] >= 0.5
    assert device.architecture == "Ada"


def test_a_card_that_tells_nothing_still_becomes_a_device():
    device = from_nvml(Card(index=0, name="GRID V100D", memory_total=8 * GiB), {})
    assert device.flops == {} and "guess" in device.sources["bandwidth"] and device.uncertainty["bandwidth"] > 0.5


def test_other_makers():
    radeon = from_row("AMD Radeon RX 7900 XTX", "rocm card", "rocm", 24560 * MiB, {"memory_free": 20 * GiB})
    assert (
        radeon.kind == "rocm"
        and radeon.memory_free == 20 * GiB
        and radeon.bandwidth == catalogue("RX 7900 XTX").bandwidth
    )
    assert from_row(None, "rocm card 0x1", "rocm", None, {}) is None
    unknown = from_row("AMD Radeon RX 9999", "rocm card", "rocm", 16 * GiB, {})
    assert unknown.memory_total == 16 * GiB and "guess" in unknown.sources["bandwidth"]


def test_a_later_capability_is_unknown_not_a_neighbours():
    assert by_capability(ARCHITECTURES, "8.9") == "Ada" and by_capability(ARCHITECTURES, "8.6") == "Ampere"
    assert by_capability(ARCHITECTURES, "21.0") is None and by_capability(ARCHITECTURES, None) is None
