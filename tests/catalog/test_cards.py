"""The catalogue of cards: exact names, variants, facts against data sheets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.catalog.cards import MEANS_SEVERAL, _rows, card, card_names, cards, names_of
from onecard.catalog.names import key
from onecard.core.errors import UnknownName
from onecard.core.units import GiB, MiB

ROWS = _rows()
T = 1e12


def test_there_are_enough_cards():
    assert len({row["name"] for row in ROWS}) >= 90


def test_every_name_belongs_to_one_card():
    owners: dict[str, str] = {}
    for row in ROWS:
        for name in {key(n) for n in names_of(row)}:
            assert owners.setdefault(name, row["name"]) == row["name"], name
    assert not set(MEANS_SEVERAL) & set(owners)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_every_name_finds_its_own_card(row: dict[str, str]):
    for name in (*names_of(row), row["name"].upper(), row["name"].replace(" ", ""), row["name"].replace(" ", "-")):
        assert card(name).name == row["name"]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_a_row_has_positive_facts_and_sources(row: dict[str, str]):
    found = card(row["name"])
    assert found.sources["*"].startswith("https://")
    assert found.sources["memory_total"] and found.sources["flops"]
    assert 0 < found.memory_reserved < found.memory_total / 2
    assert found.bandwidth > 10e9
    assert found.multiprocessors and found.clock and 0.5e9 < found.clock < 4e9
    assert all(rate > 0 for rate in found.flops.values())
    # what cannot be: a matrix unit slower than half the ordinary lanes, fp16 accumulation slower than fp32's
    assert found.flops.get("fp16", found.flops["fp32"]) >= found.flops["fp32"] * 0.99
    assert found.flops.get("fp16_acc16", 1e18) >= found.flops.get("fp16", 0) * 0.99
    assert (found.compute_capability is not None) == (found.kind == "cuda")
    assert (found.host_total == found.memory_total) == found.unified
    assert found.laptop == ("Laptop" in found.name or "Max-Q" in found.name)


@pytest.mark.parametrize("row", [r for r in ROWS if r["kind"] == "cuda"], ids=lambda r: r["name"])
def test_lanes_clock_and_fp32_agree(row: dict[str, str]):
    """FP32 = 2 x lanes of an SM x SMs x clock: 64 lanes on GP100, Volta, Turing and GA100, else 128."""
    lanes = 64 if row["compute_capability"] in ("6.0", "7.0", "7.5", "8.0") else 128
    assert 2 * lanes * int(row["multiprocessors"]) * float(row["clock_mhz"]) / 1e6 == pytest.approx(
        float(row["fp32_tflops"]), rel=0.01
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_the_drivers_name_and_memory_find_the_card(row: dict[str, str]):
    found = card(row["driver"], memory=int(row["memory_mib"]) * MiB)
    assert found.memory_total == int(row["memory_mib"]) * MiB
    # Cards that a driver cannot tell apart: the Max-Q 3080, Apple's chips with fewer cores, a laptop's 2070.
    if "Max-Q" not in row["name"] and row["kind"] != "metal":
        assert found.name == row["name"] or found.laptop != (row["use"] == "laptop")


@pytest.mark.parametrize(
    ("name", "mib", "gigabytes_per_s", "fp16"),
    [
        # NVIDIA data sheets and product pages; tensor rates dense with FP32 accumulation
        ("RTX 4070 Ti", 12282, 504.2, 80.2 * T),
        ("RTX 3060", 12288, 360, 25.5 * T),
        ("RTX 4090", 24564, 1008, 165.2 * T),
        ("RTX 3090", 24576, 936, 71.2 * T),
        ("RTX 5090", 32607, 1792, 209.5 * T),
        ("T4", 15360, 320, 65 * T),
        ("L4", 23034, 300, 121 * T),
        ("A10", 23028, 600, 125 * T),
        ("A40", 46068, 696, 149.7 * T),
        ("L40S", 46068, 864, 362 * T),
        ("RTX A6000", 49140, 768, 154.8 * T),
        ("RTX 6000 Ada", 49140, 960, 364 * T),
        ("A100 SXM4 80GB", 81920, 2039, 312 * T),
        ("A100 PCIe 40GB", 40960, 1555, 312 * T),
        ("H100 SXM5 80GB", 81559, 3352, 989 * T),
        ("H200", 143771, 4800, 989 * T),
        ("Tesla V100 SXM2 32GB", 32768, 900, 125 * T),
        ("RTX 2080 Ti", 11264, 616, 53.8 * T),
        # AMD, Intel product pages
        ("RX 7900 XTX", 24560, 960, 122.8 * T),
        ("RX 9070 XT", 16368, 644.6, 195 * T),
        ("MI300X", 196592, 5300, 1307 * T),
        ("MI210", 65520, 1638, 181 * T),
        ("Arc B580", 12288, 456, 109 * T),
        ("Arc A770", 16384, 560, 157 * T),
    ],
)
def test_literature(name: str, mib: int, gigabytes_per_s: float, fp16: float):
    found = card(name)
    assert found.memory_total == mib * MiB
    assert found.bandwidth == pytest.approx(gigabytes_per_s * 1e9, rel=0.01)
    assert found.flops["fp16"] == pytest.approx(fp16, rel=0.02)


def test_pascal_has_no_fast_half_precision():
    assert "fp16" not in card("GTX 1080 Ti").flops
    assert card("Tesla P100 PCIe 16GB").flops["fp16"] == pytest.approx(2 * card("P100").flops["fp32"])


def test_geforce_halves_the_rate_of_fp32_accumulation_and_professional_cards_do_not():
    for name in ("RTX 3090", "RTX 4090", "RTX 2080 Ti", "RTX 5080"):
        assert card(name).flops["fp16_acc16"] == 2 * card(name).flops["fp16"]
    for name in ("RTX A6000", "A100", "L40S", "TITAN RTX"):
        assert card(name).flops["fp16_acc16"] == pytest.approx(card(name).flops["fp16"])


@pytest.mark.slow
def test_no_substring_ever_finds_a_card():
    everything = {key(n) for row in ROWS for n in names_of(row)} | {key(r["driver"]) for r in ROWS}
    for row in ROWS:
        name = row["name"]
        for wrong in (name + " X", name[:-1]):
            if key(wrong) in everything or key(wrong).removeprefix("nvidia") in everything:
                continue
            try:
                found = card(wrong).name
            except UnknownName:
                continue
            if found == name:  # "A100 PCIe 40G" is the A100 PCIe with its size
                continue
            # only a size of memory may be missing, and only where the card is the one with the least of it
            assert "GPU" in name and found.startswith(wrong.rsplit(" ", 1)[0])


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        ("4070ti", "GeForce RTX 4070 Ti"),
        ("rtx 4070 ti", "GeForce RTX 4070 Ti"),
        ("NVIDIA GeForce RTX 4070 Ti", "GeForce RTX 4070 Ti"),
        ("RTX_4070_Ti_SUPER", "GeForce RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "GeForce RTX 4070 Laptop"),
        ("4070 laptop", "GeForce RTX 4070 Laptop"),
        ("3080", "GeForce RTX 3080"),
        ("RTX 3080 12 GB", "GeForce RTX 3080 12GB"),
        ("RTX 3080 10GB", "GeForce RTX 3080"),
        ("RTX 3060 12 GB", "GeForce RTX 3060"),
        ("RTX 4090 24GB", "GeForce RTX 4090"),
        ("4070 Ti 12g", "GeForce RTX 4070 Ti"),
        ("RTX 5090 Laptop 24 GB", "GeForce RTX 5090 Laptop"),
        ("L40S 48GB", "L40S"),
        ("4060 Ti 16GB", "GeForce RTX 4060 Ti 16GB"),
        ("7900xtx", "Radeon RX 7900 XTX"),
        ("m2 max 96gb", "Apple M2 Max 38-core GPU 96 GB"),
        ("Apple M2 Ultra 76-core GPU", "Apple M2 Ultra 76-core GPU 64 GB"),
        ("A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("Tesla T4", "Tesla T4"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770"),
        ("AMD Instinct MI300X", "Instinct MI300X"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
    ],
)
def test_spellings(name: str, is_it: str):
    assert card(name).name == is_it


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("RTX 4060 Ti", ("8GB", "16GB")),
        ("5060 ti", ("8GB", "16GB")),
        ("GTX 1060", ("3GB", "6GB")),
        ("M2 Max", ("32 GB", "96 GB")),
        ("RTX 6000", ("Quadro RTX 6000", "RTX 6000 Ada")),
    ],
)
def test_an_ambiguous_name_is_refused_with_its_variants(name: str, variants: tuple[str, ...]):
    with pytest.raises(UnknownName) as raised:
        card(name)
    assert all(variant in raised.value.next for variant in variants)
    assert "is the name of" in raised.value.what


@pytest.mark.parametrize(
    "name", ["RTX 4090 48GB", "RTX 4070 Ti 16GB", "RTX 3060 24GB", "RTX 4090 4GB", "24GB", "RTX 24GB", "M2 Max 48GB"]
)
def test_a_size_that_the_card_does_not_have_is_no_card(name: str):
    with pytest.raises(UnknownName):
        card(name)


def test_memory_that_was_seen_tells_variants_apart():
    assert card("NVIDIA GeForce RTX 3080", memory=12288 * MiB).name == "GeForce RTX 3080 12GB"
    assert card("NVIDIA GeForce RTX 3080", memory=10240 * MiB).name == "GeForce RTX 3080"
    assert card("NVIDIA GeForce RTX 4060 Ti", memory=16380 * MiB).name == "GeForce RTX 4060 Ti 16GB"
    assert card("Apple M2 Max", memory=96 * GiB).name == "Apple M2 Max 38-core GPU 96 GB"


@pytest.mark.parametrize(
    ("typo", "meant"), [("rtx 4070 tii", "RTX 4070 Ti"), ("gtx 1080 it", "GTX 1080 Ti"), ("rx 7900xtxx", "RX 7900 XTX")]
)
def test_a_typo_gets_the_nearest_names(typo: str, meant: str):
    with pytest.raises(UnknownName) as raised:
        card(typo)
    assert meant in raised.value.nearest


@given(st.text(max_size=40))
def test_any_text_is_a_card_or_a_clear_error(text: str):
    try:
        assert card(text).memory_total > 0
    except UnknownName as error:
        assert "card" in str(error)


def test_usable_memory():
    """A 12 GB card with a desktop: what PyTorch may hold is between 11.2 and 11.5 GiB; headless servers keep 1 %."""
    assert 11.2 * GiB < card("RTX 4070 Ti").usable < 11.5 * GiB
    assert card("A100 SXM4 80GB").usable / card("A100 SXM4 80GB").memory_total > 0.985
    # recommendedMaxWorkingSetSize as llama.cpp prints it: 22,906 MB of a 32 GB M1 Max, 51,540 of 64, 154,619 of 192
    assert card("M1 Max 32GB").usable == pytest.approx(22906e6, rel=0.01)
    assert card("M2 Max 64GB").usable == pytest.approx(51540e6, rel=0.01)
    assert card("M2 Ultra 192GB").usable == pytest.approx(154619e6, rel=0.01)


def test_names_and_cards_are_the_same_list():
    assert [c.name for c in cards()] == list(card_names())
