"""What devices do now, on this machine and with a driver's stand-in."""

import os
import sys
import threading

import pytest
from driver import HANGS, Refused, library

from onecard.machine import now as now_module
from onecard.machine import nvml
from onecard.machine.now import Now, largest_processes


def test_the_cpu_is_always_there_and_is_last():
    with Now() as now:
        found = now.readings()
    assert found[-1].kind == "cpu" and 0 < found[-1].memory_used <= found[-1].memory_total
    assert found[-1].power is None and found[-1].throttle is None  # not readable here is not 0


def test_largest_processes_are_sorted_and_this_one_has_a_name():
    found = largest_processes()
    sizes = [h.bytes for h in found]
    assert sizes == sorted(sizes, reverse=True) and len(found) <= now_module.LARGEST
    assert nvml.process_name(os.getpid())


@pytest.mark.parametrize("change", [{}, {"nvmlDeviceGetMemoryInfo": Refused()}])
def test_a_card_beside_the_cpu(monkeypatch, change):
    monkeypatch.setattr(nvml, "likely", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", library(**change))
    with Now() as now:
        card, cpu = now.readings()
    assert card.kind == "cuda" and cpu.kind == "cpu"
    assert (card.memory_used is None) == bool(change)


def test_a_driver_that_hangs_shows_as_missing(monkeypatch):
    monkeypatch.setattr(nvml, "likely", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=HANGS))
    monkeypatch.setattr(now_module, "within", lambda seconds, function, otherwise: nvml_within(function, otherwise))
    with Now() as now:
        assert [r.kind for r in now.readings()] == ["cpu"]


def nvml_within(function, otherwise):
    from onecard.machine.patience import within

    return within(0.05, function, otherwise)


def test_a_driver_that_hangs_later_is_not_asked_again_and_again(monkeypatch):
    monkeypatch.setattr(nvml, "likely", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", library())
    with Now() as now:
        assert len(now.readings()) == 2
        asked = []
        never = threading.Event()
        monkeypatch.setattr(now.nvml, "readings", lambda: asked.append(1) or never.wait())
        monkeypatch.setattr(threading.Thread, "join", lambda self, timeout=None: None)
        assert [len(now.readings()) for _ in range(5)] == [1] * 5
        assert len(asked) == 1
        never.set()
