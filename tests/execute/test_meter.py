"""Peaks belong to the phase that reached them, and to every phase around it."""

import importlib.util
import sys
from types import SimpleNamespace

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


class Counters:
    """torch.cuda's counters over a row of allocations, with torch's own rules: a reset sets the peaks to what is held now."""

    def __init__(self):
        self.held = {"allocated": 0, "reserved": 0}
        self.most = dict(self.held)
        self.synchronized = 0

    def hold(self, allocated, reserved):
        self.held = {"allocated": allocated, "reserved": reserved}
        self.most = {k: max(self.most[k], v) for k, v in self.held.items()}

    def is_initialized(self):
        return True

    def synchronize(self):
        self.synchronized += 1

    def max_memory_allocated(self):
        return self.most["allocated"]

    def max_memory_reserved(self):
        return self.most["reserved"]

    def reset_peak_memory_stats(self):
        self.most = dict(self.held)


def test_the_peaks_of_a_card_are_its_allocators_to_the_byte(monkeypatch):
    counters = Counters()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=counters))
    ended = {}
    meter = Meter(lambda name, seconds, peaks: ended.setdefault(name, (peaks["allocated"], peaks["reserved"])))
    counters.hold(999_999, 2 * MiB)
    counters.hold(1, 2 * MiB)
    with meter.phase("outer"):
        counters.hold(512, 2 * MiB)
        with meter.phase("build"):
            counters.hold(13_476_839_425, 13_501_464_576)
        with meter.phase("step"):
            counters.hold(17_203_456_513, 18_050_187_264)
            counters.hold(13_476_839_425, 18_050_187_264)
        with meter.phase("after"):
            counters.hold(13_476_840_000, 18_050_187_264)
    assert ended == {
        "build": (13_476_839_425, 13_501_464_576), "step": (17_203_456_513, 18_050_187_264),
        "after": (13_476_840_000, 18_050_187_264), "outer": (17_203_456_513, 18_050_187_264),
    }  # fmt: skip
    assert counters.synchronized == 4, "a kernel that still runs belongs to the phase that started it"


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_on_a_real_card_they_are_what_torch_says_of_the_same_work():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    sizes = [1, 511, 3 * MiB + 7, 40 * MiB, 123_456_789]

    def work():
        kept = [torch.empty(size, dtype=torch.uint8, device="cuda") for size in sizes]
        return sum(t.numel() for t in kept)

    work()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    exact = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
    torch.cuda.empty_cache()
    ended = {}
    meter = Meter(lambda name, seconds, peaks: ended.setdefault(name, (peaks["allocated"], peaks["reserved"])))
    with meter.phase("outer"), meter.phase("inner"):
        work()
    assert ended["inner"] == exact == ended["outer"]
