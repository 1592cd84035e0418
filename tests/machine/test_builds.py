"""Driver numbers, cubin compatibility and the choice of a PyTorch build, against published cases."""

import pytest

from onecard.machine.builds import (
    BUILDS,
    best_build,
    build_of,
    card_runs,
    decode_cuda,
    driver_runs,
    install_torch,
    installed_driver_runs,
    minimum_driver,
    parts,
)


@pytest.mark.parametrize(
    ("number", "text"), [(11060, "11.6"), (12040, "12.4"), (13000, "13.0"), (10020, "10.2"), (12080, "12.8")]
)
def test_the_driver_number_is_decoded(number, text):
    assert decode_cuda(number) == text


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ("8.9", ("sm_80", "sm_86", "sm_90"), True),  # the RTX 4070 Ti on the published wheels
        ("8.6", ("sm_80",), True),
        ("8.0", ("sm_86",), False),  # a lower minor version does not run a higher one's code
        ("12.0", ("sm_90",), False),  # no cubin runs on another major version
        ("12.0", ("sm_90", "compute_90"), True),  # but PTX is compiled for it
        ("12.1", ("sm_120",), True),
        ("9.0", ("sm_90a",), False),  # architecture-specific code
        ("6.1", ("5.0", "6.0", "7.0"), True),
        ("6.1", ("7.5", "8.0"), False),
        ("7.0", ("compute_75",), False),
    ],
)
def test_which_kernels_run_on_which_card(capability, architectures, runs):
    assert card_runs(capability, architectures) is runs


def test_minor_version_compatibility_of_drivers():
    assert driver_runs(12020, "12.8")
    assert not driver_runs(11080, "12.1")
    assert not driver_runs(12090, "13.0")
    assert driver_runs(13000, "11.8")


@pytest.mark.parametrize(
    ("capability", "driver", "torch", "cuda"),
    [
        ("8.9", 13000, BUILDS[0].torch, "13.0"),
        ("8.9", 12040, BUILDS[0].torch, "12.6"),
        ("6.1", 13000, BUILDS[0].torch, "12.6"),  # Pascal only in CUDA 12.6 builds
        ("7.0", 13000, BUILDS[0].torch, "12.6"),  # Volta too
        ("12.0", 12080, "2.11", "12.8"),  # Blackwell with a driver of CUDA 12: the last release with 12.8
        ("12.0", 13000, BUILDS[0].torch, "13.0"),
        ("8.6", 11060, "2.7", "11.8"),
        (None, None, BUILDS[0].torch, "13.0"),
    ],
)
def test_the_best_build_for_a_card_and_a_driver(capability, driver, torch, cuda):
    best = best_build(capability, driver)
    assert (best.torch, best.cuda) == (torch, cuda)


def test_no_build_for_a_driver_of_cuda_10():
    assert best_build("7.5", 10020) is None


def test_commands_pin_only_what_the_newest_release_lacks():
    assert (
        install_torch(best_build("8.9", 13000))
        == "python -m pip install torch --index-url https://download.pytorch.org/whl/cu130"
    )
    assert '"torch==2.11.*"' in install_torch(best_build("12.0", 12080))
    assert install_torch(None).endswith("/whl/cpu")


def test_an_installed_build_is_found_by_release_and_cuda():
    assert build_of("2.9.1+cu128", "12.8").architectures[0] == "7.0"
    assert build_of("2.9.1+cu127", "12.7") is None
    assert build_of("2.13.0+cpu", None) is None


def test_each_build_has_a_source_and_a_date():
    assert all(b.source.startswith("https://") and len(b.date) == 10 for b in BUILDS)
    assert len({(b.torch, b.cuda) for b in BUILDS}) == len(BUILDS)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("2.14.0a0+git", (2, 14, 0)), ("525.60.13", (525, 60, 13)), ("dev", ())],
)
def test_leading_numbers_of_a_version(version, numbers):
    assert parts(version) == numbers


@pytest.mark.parametrize(
    ("driver", "number", "cuda", "system", "runs"),
    [
        ("525.60.13", None, "12.8", "linux", True),
        ("525.60.11", None, "12.8", "linux", False),
        ("527.41", None, "12.1", "windows", True),
        ("527.27", None, "12.1", "windows", False),
        ("575.57.08", None, "13.0", "linux", False),
        ("580.65.06", None, "13.0", "linux", True),
        ("575.57.08", 13000, "13.0", "linux", True),  # forward compatibility libraries: what the driver tells wins
        (None, None, "13.0", "linux", None),
        ("999", None, "99.0", "linux", None),
    ],
)
def test_minimum_drivers_where_only_the_version_is_known(driver, number, cuda, system, runs):
    assert installed_driver_runs(driver, number, cuda, system) is runs


def test_published_minimums():
    assert minimum_driver("12.4", "linux") == "525.60.13" and minimum_driver("11.8", "windows") == "452.39"
