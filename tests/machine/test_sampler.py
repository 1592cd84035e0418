"""Samples in fixed units; what a driver does not tell is left out; a process that is gone is no error."""

import os
import subprocess
import sys
import threading

import pytest

from onecard.machine import sampler


class Driver:
    """NVML of a card that knows power and memory but neither PCIe nor utilisation, in NVML's own units."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES = 0, 1

    class NVMLError(Exception):
        pass

    class _Memory:
        used = 5 * 1024**3

    class _Process:
        pid, usedGpuMemory = os.getpid(), 3 * 1024**3

    def nvmlDeviceGetHandleByIndex(self, ordinal):
        return ordinal

    def nvmlDeviceGetMemoryInfo(self, card):
        return self._Memory

    def nvmlDeviceGetPowerUsage(self, card):
        return 215_500

    def nvmlDeviceGetClockInfo(self, card, kind):
        return {1: 2610, 2: 10501}[kind]

    def nvmlDeviceGetComputeRunningProcesses(self, card):
        return [self._Process]

    def __getattr__(self, name):
        if name.startswith("nvml"):
            raise self.NVMLError(name)
        raise AttributeError(name)


@pytest.fixture
def driver(monkeypatch):
    found = Driver()
    monkeypatch.setattr(sampler, "nvml", lambda: found)
    sampler.handle.cache_clear()
    yield found
    sampler.handle.cache_clear()


def test_readings_are_in_watts_hertz_and_bytes_and_unknown_ones_are_left_out(driver):
    found = sampler.card_sample(os.getpid())
    assert found == {
        "device_used": 5 * 1024**3,
        "power": 215.5,
        "clock": 2.61e9,
        "memory_clock": 10.501e9,
        "driver": 3 * 1024**3,
    }


def test_what_others_hold_before_a_run_is_its_baseline(driver):
    from onecard.machine.environment import environment

    assert environment("cuda")["device_used"] == 5 * 1024**3
    assert "device_used" not in environment("cpu")


def test_memory_of_another_process_is_not_ours(driver):
    assert sampler.process_bytes(os.getpid() + 1) is None


def test_without_a_driver_a_sample_has_the_process_alone(monkeypatch):
    monkeypatch.setattr(sampler, "nvml", lambda: None)
    sampler.handle.cache_clear()
    assert sampler.card_sample(os.getpid()) == {}
    found = sampler.process_sample(os.getpid())
    assert found["rss"] > 1024**2 and found["cpu_seconds"] > 0 and found["host_available"] > 0
    sampler.handle.cache_clear()


def test_a_process_that_is_gone_leaves_the_host():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert set(sampler.process_sample(child.pid)) == {"host_available"}


def test_samples_come_until_the_end_of_the_with():
    enough = threading.Event()
    kept = []

    def keep(sample):
        kept.append(sample)
        if len(kept) >= 3:
            enough.set()

    with sampler.Sampler(os.getpid(), keep, every=0.01):
        assert enough.wait(10)
    count = len(kept)
    assert count >= 3 and all("rss" in s for s in kept)


def test_a_night_of_training_has_thousands_of_samples_not_millions():
    elapsed, count = 0.0, 0
    while elapsed < 12 * 3600:
        elapsed += sampler.interval(elapsed, 0.1)
        count += 1
    assert 4_000 < count < 15_000
    assert sampler.interval(0, 0.1) == 0.1
