"""setup's commands for machines of all kinds: the right index and release, and a driver's command of the right system."""

import json
import re

import pytest
from machines import FOLDER

from onecard.machine.builds import BUILDS, card_runs, driver_runs
from onecard.machine.preparation import steps
from onecard.machine.recording import read

PYTHON = {"version": "3.12.3", "virtual": True}
PACKAGES = {"pip": "26.0", "xllamacpp": "2026.10.1"}


def prepared(**fields):
    given = {"system": "linux", "distribution": "Ubuntu 24.04", "python": PYTHON, "packages": PACKAGES, **fields}
    return {s.name: s for s in steps(read(json.dumps(given).encode(), FOLDER)[0])}


def card(name, capability):
    return [{"name": name, "compute_capability": capability}]


@pytest.mark.parametrize(
    ("capability", "driver", "pin", "index"),
    [
        ("8.9", "580.95.05", "torch", "cu130"),
        ("8.9", "595.71.05", "torch", "cu130"),
        ("8.6", "535.183.01", "torch", "cu126"),
        ("8.6", "470.256.02", '"torch==2.7.*"', "cu118"),
        ("12.0", "580.95.05", "torch", "cu130"),
        ("12.0", "570.124.04", '"torch==2.11.*"', "cu128"),
        ("6.1", "580.95.05", "torch", "cu126"),
        ("5.2", "535.183.01", "torch", "cu126"),
        ("7.0", "580.95.05", "torch", "cu126"),
        ("7.5", "550.54.14", "torch", "cu126"),
        ("3.5", "470.256.02", "torch", "cpu"),
    ],
)
def test_the_build_that_driver_and_card_run(capability, driver, pin, index):
    told = prepared(driver=driver, cards=card("a card", capability))["torch"]
    assert told.command == f"python -m pip install {pin} --index-url https://download.pytorch.org/whl/{index}"


@pytest.mark.parametrize(
    "driver", ["450.80.02", "470.1", "510.39", "525.60.13", "550.1", "570.1", "580.65", "590.48", "595.1"]
)
@pytest.mark.parametrize("capability", ["5.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"])
def test_no_command_names_a_build_that_would_not_run(capability, driver):
    told = prepared(driver=driver, cards=card("a card", capability))
    named = re.search(r'torch(?:==([\d.]+)\.\*)?"? --index-url \S+/cu(\d\d)(\d)', told["torch"].command)
    driver_cuda = read(json.dumps({"driver": driver}).encode(), FOLDER)[0].driver_cuda
    if named is None:  # a new card with an old driver: first the driver
        assert not told["torch"].command and told["driver"].command
        return
    cuda = f"{named[2]}.{named[3]}"
    build = next(b for b in BUILDS if b.cuda == cuda and b.torch == (named[1] or BUILDS[0].torch))
    assert driver_runs(driver_cuda, cuda) and card_runs(capability, build.architectures)


def test_before_any_driver_runs_the_pci_number_decides():
    for number, index in (("1b80", "cu126"), ("2786", "cu130"), ("2b85", "cu130"), ("128b", "cpu")):
        told = prepared(adapters=[f"10de:{number} nouveau"], modules=["nouveau"])
        assert told["torch"].command.endswith(f"/{index}") and told["driver"].command


@pytest.mark.parametrize(
    ("distribution", "word"),
    [
        ("Ubuntu 24.04.3 LTS", "ubuntu-drivers"), ("Linux Mint 22", "ubuntu-drivers"), ("Debian GNU/Linux 13", "apt install nvidia-driver"),
        ("Fedora Linux 43", "dnf install akmod-nvidia"), ("Arch Linux", "pacman -S nvidia-open-dkms"),
        ("openSUSE Leap 16.0", "zypper install"), ("NixOS 26.05", "https://www.nvidia.com/drivers"),
    ],
)  # fmt: skip
def test_the_drivers_command_is_that_of_the_distribution(distribution, word):
    assert (
        word
        in prepared(distribution=distribution, adapters=["10de:2786"], modules=[], nvml_library="")["driver"].command
    )


def test_an_old_card_gets_its_last_driver_never_the_newest():
    told = prepared(driver="470.256.02", cards=card("NVIDIA GeForce GTX 1080", "6.1"))["driver"]
    assert "nvidia-driver-580" in told.command
    windows = prepared(
        system="windows", distribution=None, driver="470.5", cards=card("NVIDIA GeForce GTX 1080", "6.1")
    )
    assert "branch 580" in windows["driver"].command


def test_a_container_and_wsl2_never_install_a_driver_inside():
    inside = prepared(container="docker", driver="470.256.02", cards=card("x", "8.6"))["driver"]
    assert "on the host" in inside.command
    wsl = prepared(system="wsl2", driver="470.5", cards=card("x", "8.6"), nvml_library="/usr/lib/wsl/lib/libnvidia-ml.so.1",
                   wsl_library="/usr/lib/wsl/lib/libcuda.so.1")["driver"]  # fmt: skip
    assert "in Windows, never inside WSL2" in wsl.command


def test_what_belongs_to_one_release_of_torch_is_installed_with_it():
    told = prepared(driver="580.95.05", cards=card("x", "8.9"), packages={**PACKAGES, "torchvision": "0.24.1"})["torch"]
    assert told.arguments[4:6] == ("torch", "torchvision")


def test_other_makers():
    assert "--torch-backend=auto" in prepared(adapters=["1002:744c amdgpu"])["torch"].command
    assert prepared(adapters=["1002:164e amdgpu"])["torch"].command.endswith("/cpu")  # integrated graphics
    assert prepared(adapters=["8086:56a0 xe"])["torch"].command.endswith("/xpu")
    intel_mac = prepared(system="darwin", architecture="x86_64", distribution="macOS 15.1")["torch"]
    assert 'install "torch==2.2.*" "numpy<2"' in intel_mac.command
    under_rosetta = prepared(system="darwin", architecture="x86_64", adapters=["apple:Apple M2"])
    assert "aarch64" in under_rosetta["environment"].command


@pytest.mark.parametrize(
    ("fields", "index"),
    [
        ({"driver": "580.95.05", "cards": card("x", "8.9")}, "cu128"),
        ({"driver": "535.183.01", "cards": card("x", "8.6")}, "cu128"),
        ({"driver": "535.183.01", "cards": card("x", "7.5")}, "vulkan"),
        ({"driver": "470.256.02", "cards": card("x", "8.6")}, "vulkan"),
        ({"driver": "580.95.05", "cards": card("NVIDIA GB10", "12.1"), "architecture": "aarch64"}, "cu132"),
        ({"adapters": ["1002:744c amdgpu"], "rocm": "7.2.1"}, "rocm-7.2.4"),
        ({"adapters": ["1002:744c amdgpu"]}, "vulkan"),
        ({"adapters": ["8086:56a0 xe"]}, "vulkan"),
        ({"system": "windows", "adapters": ["1002:AMD Radeon RX 7800 XT"]}, "vulkan"),
    ],
)
def test_the_wheel_of_llama_cpp(fields, index):
    assert prepared(**fields, files={"xllamacpp": []})["engines"].command.endswith(f"/{index}")
    assert "engines" not in prepared(**fields, files={"xllamacpp": ["cuda"]})
    assert "engines" not in prepared(files={"xllamacpp": []})


def test_an_old_driver_and_a_new_python():
    told = prepared(driver="470.256.02", cards=card("x", "8.6"), python={"version": "3.14.0", "virtual": True})
    assert "uv venv --python 3.12" in told["environment"].command and "2.7" in told["environment"].why
