"""The CPU from recorded /proc and /sys, and this very machine against psutil."""

import psutil
import pytest

from onecard.machine.cpu import processor, sets_of

RYZEN = "\n\n".join(
    f"processor\t: {n}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 33\nmodel name\t: AMD Ryzen 7 5800X 8-Core Processor\n"
    f"stepping\t: 2\ncpu MHz\t\t: 2200.000\nphysical id\t: 0\ncore id\t\t: {n % 8}\nflags\t\t: fpu sse avx avx2 fma f16c"
    for n in range(16)
)  # fmt: skip
PI = "\n\n".join(
    f"processor\t: {n}\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b" for n in range(4)
)


def machine(root, cpuinfo, extra=()):
    files = {
        "proc/cpuinfo": cpuinfo,
        "proc/meminfo": "MemTotal: 32768000 kB\nMemAvailable: 20000000 kB\n",
        **dict(extra),
    }
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return processor(root)


def test_hyper_threads_are_not_cores(tmp_path):
    found = machine(tmp_path, RYZEN, {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "4850195\n"}.items())
    assert (found.logical, found.physical, found.cores) == (16, 8, 8)
    assert found.name == "AMD Ryzen 7 5800X 8-Core Processor" and found.clock == 4850195e3
    assert found.sets == ("avx", "avx2", "fma", "f16c")
    assert found.memory_total == 32768000 * 1024 and found.memory_available == 20000000 * 1024


def test_an_arm_board_without_a_name(tmp_path):
    found = machine(tmp_path, PI)
    assert found.logical == 4 and found.sets == ("neon", "dotprod") and "0xd0b" in found.name and found.clock is None


def test_the_last_cache_is_the_largest(tmp_path):
    caches = {
        f"sys/devices/system/cpu/cpu0/cache/index{i}/size": s for i, s in enumerate(("32K", "32K", "512K", "32768K"))
    }
    assert machine(tmp_path, RYZEN, caches.items()).cache == 32 * 1024**2


def test_a_containers_limits_win(tmp_path):
    limits = {
        "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000", "sys/fs/cgroup/memory.max": str(4 * 1024**3),
        "sys/fs/cgroup/memory.current": str(1024**3),
    }  # fmt: skip
    found = machine(tmp_path, RYZEN, limits.items())
    assert found.logical == 2 and found.machine_logical == 16 and found.cores == 2
    assert found.memory_total == 4 * 1024**3 and found.memory_available == 3 * 1024**3
    assert "control group" in found.limited_by


def test_an_unreadable_machine_is_no_error(tmp_path):
    found = processor(tmp_path)
    assert found.logical >= 1 and found.memory_total > 0 and found.sets == ()


def test_this_machine_agrees_with_psutil():
    found, memory = processor(), psutil.virtual_memory()
    assert found.memory_total <= memory.total
    assert found.machine_logical == psutil.cpu_count()
    assert found.memory_available == pytest.approx(memory.available, rel=0.3)


def test_instruction_sets_keep_the_order_of_the_list():
    assert sets_of({"avx512f", "avx2", "something"}) == ("avx2", "avx512f")
