"""Apple chips from what sysctl and system_profiler print."""

from onecard.machine.apple import parse, working_set

GiB = 1024**3
SYSCTL = "machdep.cpu.brand_string: Apple M2 Pro\nhw.memsize: 34359738368\niogpu.wired_limit_mb: 0\n"
DISPLAYS = '{"SPDisplaysDataType": [{"sppci_model": "Apple M2 Pro", "sppci_cores": "19"}]}'


def test_a_chip():
    chip = parse(SYSCTL, DISPLAYS)
    assert chip.name == "Apple M2 Pro" and chip.gpu_cores == 19 and chip.memory_total == 32 * GiB
    assert chip.working_set == 32 * GiB * 2 // 3


def test_a_limit_set_by_the_owner_counts():
    assert parse(SYSCTL.replace("_mb: 0", "_mb: 28672"), DISPLAYS).working_set == 28 * GiB


def test_large_memories_lend_three_quarters():
    assert working_set(64 * GiB) == 48 * GiB


def test_garbage_and_intel_macs_are_no_chip():
    assert parse("", "") is None
    assert parse("machdep.cpu.brand_string: Intel(R) Core(TM) i9\nhw.memsize: 17179869184", DISPLAYS) is None
    assert parse(SYSCTL, "not JSON").gpu_cores is None
