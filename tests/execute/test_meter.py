"""Peaks belong to the phase that reached them, and to every phase around it."""

import sys

import pytest

from onecard.execute.meter import Meter

MiB = 1024**2


def touched(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
    return block


@pytest.mark.skipif(sys.platform != "linux", reason="exact high-water marks are a feature of Linux")
def test_inner_peaks_count_for_the_outer_phase_and_not_for_the_next():
    ended = {}
    meter = Meter(lambda name, seconds, peaks: ended.setdefault(name, peaks["rss"]))
    base = meter.baseline()
    with meter.phase("outer"):
        with meter.phase("large"):
            touched(200 * MiB)
        with meter.phase("small"):
            touched(50 * MiB)
    assert ended["large"] - base == pytest.approx(200 * MiB, rel=0.05)
    assert ended["small"] - base == pytest.approx(50 * MiB, rel=0.1)
    assert ended["outer"] == pytest.approx(ended["large"], rel=0.02)


def test_a_phase_that_fails_is_still_reported():
    ended = []
    meter = Meter(lambda name, seconds, peaks: ended.append(name))
    with pytest.raises(ZeroDivisionError), meter.phase("bad"):
        _ = 1 / 0
    assert ended == ["bad"]
