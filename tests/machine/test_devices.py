"""The devices of a machine, and the numbers of the CPU that are measured once."""

import sys

import pytest
from driver import library

from onecard import machine
from onecard.machine import arithmetic, bandwidth, devices, measured, nvml, pace
from onecard.machine.cpu import processor
from onecard.machine.devices import visible
from onecard.machine.nvml import Card


def test_the_cpu_is_always_the_last_device():
    found = machine.probe()
    assert found[-1].kind == "cpu" and found[-1].unified
    assert found[0] == machine.this_device() or found[0].memory_free != machine.this_device().memory_free


def test_a_gpu_comes_first_and_knows_its_host(monkeypatch):
    monkeypatch.setattr(nvml, "likely", lambda: True)
    monkeypatch.setattr(devices, "likely", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", library())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    card, cpu = machine.probe()
    assert card.name == "GeForce RTX 4070 Ti" and card.memory_free == 11500 * 1024**2
    assert card.host_total == cpu.memory_total and card.host_bandwidth == cpu.bandwidth
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.this_device().kind == "cpu"


def test_cuda_visible_devices_by_number_and_uuid():
    cards = [Card(index=i, name="card", uuid=f"GPU-{i}abc") for i in range(3)]
    assert visible(cards, None) == cards
    assert [c.index for c in visible(cards, "2,0")] == [2, 0]
    assert [c.index for c in visible(cards, "GPU-1a")] == [1]
    assert [c.index for c in visible(cards, "1,7,0")] == [1]  # CUDA ignores what follows an unknown number
    assert visible(cards, "-1") == [] and visible(cards, "") == []


def test_before_it_is_measured_the_cpu_is_a_guess_with_a_wide_range():
    device = machine.cpu_device()
    assert not machine.is_measured()
    assert device.sources["bandwidth"].startswith("guess") and device.uncertainty["bandwidth"] >= 0.5
    assert device.sources["flops"].startswith("guess") and device.flops["fp32"] > 1e9


@pytest.fixture
def bench(monkeypatch):
    """Measurements that answer at once: bench(GB/s, GFLOP/s, load) sets what comes next; bench.calls counts."""

    def set_next(memory, sums, load=0.1):
        def copy(*_):
            set_next.calls += 1
            return bandwidth.Bandwidth(memory * 1e9, "memcmp, 2 threads")

        monkeypatch.setattr(bandwidth, "measure", copy)
        found = arithmetic.Arithmetic({"fp32": sums * 1e9}, "measured") if sums else None
        monkeypatch.setattr(arithmetic, "measure", lambda threads: found)
        monkeypatch.setattr(devices, "load", lambda cpu: load)

    set_next.calls = 0
    return set_next


@pytest.mark.slow
def test_what_was_measured_is_remembered_and_used(bench):
    bench(31, 200)
    machine.measure()
    assert machine.is_measured()
    device = machine.cpu_device()
    assert device.bandwidth == 31e9 and device.flops == {"fp32": 2e11}
    assert device.sources["bandwidth"].startswith("measured") and device.uncertainty["bandwidth"] < 0.3
    machine.measure()
    assert bench.calls == 1
    machine.measure(again=True)
    assert bench.calls == 2


@pytest.mark.slow
def test_what_was_measured_on_a_busy_machine_is_a_lower_bound_and_measured_again(bench):
    bench(5, 400, load=2.5)
    machine.measure()
    assert not machine.is_measured()
    device = machine.cpu_device()
    assert device.uncertainty["bandwidth"] >= 0.5 and "other work" in device.sources["bandwidth"]
    bench(30, 300, load=0.1)
    assert machine.measure().bandwidth == 30e9 and machine.is_measured()
    assert machine.cpu_device().flops == {"fp32": 4e11}  # the larger of the two


@pytest.mark.slow
def test_a_busy_machine_never_makes_a_number_smaller(bench):
    bench(30, 300, load=2.0)
    machine.measure()
    bench(5, 100, load=2.0)
    assert machine.measure().bandwidth == 30e9 and machine.measure().flops == {"fp32": 3e11}


@pytest.mark.slow
def test_arithmetic_is_measured_once_a_library_is_there(bench, monkeypatch):
    monkeypatch.setattr(arithmetic, "measurable", lambda: False)
    bench(30, None)
    machine.measure()
    assert machine.is_measured() and machine.cpu_device().sources["flops"].startswith("guess")
    monkeypatch.setattr(arithmetic, "measurable", lambda: True)
    assert not machine.is_measured()
    bench(30, 150)
    assert machine.measure().flops == {"fp32": 1.5e11} and machine.is_measured()


def test_a_processor_that_is_busy_now_is_a_slower_device_for_a_while(bench, monkeypatch):
    bench(40, 200)
    machine.measure()
    best = machine.cpu_device()
    monkeypatch.setattr(pace, "hashing", lambda threads: measured.recall(processor()).hashes / 2)
    quarter = [bandwidth.Bandwidth(r, "memcmp, 2 threads") for r in (1e10, 1e10, 9e10)]
    monkeypatch.setattr(
        bandwidth, "passes", lambda *_, **__: [*quarter, bandwidth.Bandwidth(3e10, "memmove, 2 threads")]
    )
    machine.look()
    now = machine.cpu_device()
    assert now.bandwidth == pytest.approx(best.bandwidth / 4)
    assert now.flops["fp32"] == pytest.approx(best.flops["fp32"] / 2)
    assert not best.clock or now.clock == pytest.approx(best.clock / 2)
    assert now.uncertainty["bandwidth"] > best.uncertainty["bandwidth"] and "25%" in now.sources["bandwidth"]
    later = measured.recall(processor()).pace.at + pace.FRESH + 1
    monkeypatch.setattr(devices.time, "time", lambda: later)
    assert machine.cpu_device().bandwidth == best.bandwidth


@pytest.mark.slow
def test_looking_never_makes_a_machine_faster_than_its_best_and_needs_one():
    machine.look()
    assert measured.recall(processor()) is None
    cpu = processor()
    slow = measured.Measured(
        processor=cpu.name,
        cores=cpu.cores,
        bandwidth=1e3,
        bandwidth_how="memmove, 1 threads",
        flops={"fp32": 1e9},
        hashes=1.0,
    )
    measured.remember(cpu, slow)
    machine.look()
    assert measured.recall(cpu).pace.arithmetic == 1.0 and machine.cpu_device().bandwidth == 1e3


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"processor": 3}', b'{"processor":"x","cores":1,"schema":99}', b"\xff\xfe"]
)
def test_an_unreadable_cache_counts_as_not_measured(content):
    file = measured.file_of(processor())
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert measured.recall(processor()) is None
    assert machine.cpu_device().sources["bandwidth"].startswith("guess")


def test_bandwidth_is_a_possible_number_and_gives_its_memory_back():
    import psutil

    before = psutil.Process().memory_info().rss
    found = bandwidth.measure(1, 1 << 30, seconds=0.2)
    assert 1e8 < found.rate < 1e12 and "1 threads" in found.how
    assert psutil.Process().memory_info().rss - before < 100 * 1024**2


@pytest.mark.slow
def test_measured_arithmetic_is_below_what_the_clock_allows_with_the_widest_unit():
    found = arithmetic.measure(1)
    if found is None:
        pytest.skip("neither torch nor numpy")
    # 6 GHz with two 512-bit units: no core does more in fp32.
    assert 1e8 < found.flops["fp32"] < 6e9 * 64


def test_the_guess_grows_with_the_unit_and_says_how_it_came_about():
    cpu = processor()
    import msgspec

    old, new = (
        msgspec.structs.replace(cpu, sets=s, clock=3e9)
        for s in (("avx",), ("avx", "avx2", "fma", "avx512f", "avx512_vnni"))
    )
    slow, fast = arithmetic.guess(old), arithmetic.guess(new)
    assert fast.flops["fp32"] == 4 * slow.flops["fp32"] and "int8" in fast.flops and "int8" not in slow.flops
    assert "3.0 GHz" in fast.how and "avx512f" in fast.how


def test_an_amd_card_from_sysfs_and_integrated_graphics_not(monkeypatch, tmp_path):
    from onecard.machine import sysfs

    def adapter(**changes):
        return sysfs.Adapter(**{
            "vendor": sysfs.AMD, "device": "0x744c", "folder": tmp_path, "driver": "amdgpu", "name": "AMD Radeon RX 7900 XTX",
            "memory_total": 24560 << 20, "memory_used": 560 << 20, "link_width": 16, "link_width_max": 16, "link_speed": "",
            "link_speed_max": "", "target": "gfx1100", **changes})  # fmt: skip

    found = [
        adapter(),
        adapter(name="AMD Radeon Graphics", memory_total=512 << 20),
        adapter(vendor=sysfs.INTEL, name=None),
    ]
    monkeypatch.setattr(sysfs, "adapters", lambda: found)
    monkeypatch.setattr(devices, "DRM", tmp_path)
    card, cpu = machine.probe()
    assert card.kind == "rocm" and card.memory_free == 24000 << 20 and card.host_total == cpu.memory_total
    assert cpu.kind == "cpu"


def test_a_card_on_windows(monkeypatch):
    from onecard.machine import windows

    arc = windows.Adapter("Intel(R) Arc(TM) A770 Graphics", 16 << 30, "32.0")
    monkeypatch.setattr(windows, "adapters", lambda: [arc, windows.Adapter("Microsoft Basic Display", None, None)])
    monkeypatch.setattr(devices.platform, "system", lambda: "Windows")
    card, cpu = machine.probe()
    assert card.kind == "xpu" and card.name == "Arc A770" and card.memory_total == 16 << 30 and cpu.kind == "cpu"


def test_an_apple_chip(monkeypatch):
    from onecard.machine import apple

    monkeypatch.setattr(apple, "chip", lambda: apple.Chip("Apple M2 Pro", 19, 32 << 30, 21 << 30))
    monkeypatch.setattr(devices.platform, "system", lambda: "Darwin")
    chip, cpu = machine.probe()
    assert (
        chip.kind == "metal"
        and chip.unified
        and chip.usable == 21 << 30
        and chip.name.startswith("Apple M2 Pro 19-core")
    )
    assert cpu.kind == "cpu"


def test_a_reader_that_hangs_is_left_out(monkeypatch, tmp_path):
    import threading

    from onecard.machine import sysfs

    monkeypatch.setattr(sysfs, "adapters", threading.Event().wait)
    monkeypatch.setattr(devices, "DRM", tmp_path)
    monkeypatch.setattr(devices, "within", lambda seconds, function, otherwise: _short(function, otherwise))
    assert [d.kind for d in machine.probe()] == ["cpu"]


def _short(function, otherwise):
    from onecard.machine.patience import within

    return within(0.1, function, otherwise)
