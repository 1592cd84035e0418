"""Sizes, rates and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.core.errors import BadSetting
from onecard.core.units import parse_bandwidth, parse_duration, parse_flops, parse_size, show_seconds, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GiB", 12 * 1024**3),
        ("12 GB", 12 * 10**9),
        ("12g", 12 * 1024**3),
        ("500MiB", 500 * 1024**2),
        ("1.5 GiB", 3 * 512 * 1024**2),
        ("4294967296", 4 * 1024**3),
        ("12 288 MiB", 12288 * 1024**2),
        ("12,288 MiB", 12288 * 1024**2),
        ("12\u202f288MiB", 12288 * 1024**2),
        ("1 234 567 KiB", 1234567 * 1024),
        ("0", 0),
        ("12_282 MiB", 12282 * 1024**2),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "12",
        "4096",
        "12 28 MiB",
        "12,28GiB",
        "1,234 567KiB",
        "1234 567MiB",
        "12 elephants",
        "-3GiB",
        "12Gb",
        "1e3GB",
        "12GB/s",
        "nan",
        "12 GiB extra",
    ],
)
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(BadSetting):
        parse_size(text)


def test_gb_and_gib_differ_by_more_than_seven_per_cent():
    assert parse_size("1GiB") / parse_size("1GB") == pytest.approx(1.0737, abs=1e-4)


@given(st.integers(2**20, 2**50))
def test_bytes_written_out_come_back(size):
    assert parse_size(str(size)) == size


def test_bandwidth_and_flops():
    assert parse_bandwidth("504GB/s") == 504e9
    assert parse_bandwidth("1 TB/s") == 1e12
    assert parse_flops("80TFLOPS") == 80e12
    assert parse_flops("320 TOPS") == 320e12
    for text in ("504", "504GB", "GB/s"):
        with pytest.raises(BadSetting):
            parse_bandwidth(text)
    with pytest.raises(BadSetting):
        parse_flops("80")


def test_durations():
    assert [parse_duration(t) for t in ("30m", "2h", "90s", "90", "1.5h")] == [1800, 7200, 90, 90, 5400]
    with pytest.raises(BadSetting):
        parse_duration("soon")


def test_sizes_are_shown_as_gib_and_never_as_gb():
    assert show_size(12 * 10**9) == "11.18 GiB"
    assert show_size(512 * 1024**2) == "512 MiB"
    assert show_size(100) == "100 B"


def test_seconds():
    assert [show_seconds(s) for s in (0.0021, 0.25, 14.2, 200, 18600)] == [
        "2.1 ms",
        "250 ms",
        "14.2 s",
        "3 min 20 s",
        "5 h 10 min",
    ]
