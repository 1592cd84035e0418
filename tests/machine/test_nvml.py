"""NVML's answers as Cards and Readings; what is refused is None, never 0."""

import sys
import types

import pytest
from driver import HANGS, Refused, library

from onecard.machine import nvml
from onecard.machine.nvml import Nvml, link_rate, telling_name, throttle


@pytest.fixture
def use(monkeypatch):
    def install(**changes):
        monkeypatch.setattr(nvml, "likely", lambda: True)
        monkeypatch.setitem(sys.modules, "pynvml", library(**changes))

    return install


def test_a_card(use):
    use()
    connection = Nvml.open()
    (card,) = connection.cards()
    assert card.name == "NVIDIA GeForce RTX 4070 Ti" and card.compute_capability == "8.9"
    assert card.memory_total == 12282 * 1024**2 and card.power_limit == 285 and card.power_max == 366
    assert card.ecc is None and card.mig is None and card.driver_model is None and card.display_active is True
    assert connection.driver().cuda == 13000


def test_a_reading_with_reasons_in_words(use):
    use()
    (found,) = Nvml.open().readings()
    assert found.utilization == 0.37 and found.power == 211.5 and found.clock == 2745e6
    assert found.throttle == ("power cap", "heat (software)")


def test_memory_by_process_that_is_not_told_is_none(use):
    """Under WSL2 and WDDM the library gives None for each process, or refuses the list as a whole."""
    use()
    holders = Nvml.open().readings()[0].holders
    assert [h.bytes for h in holders] == [300 * 1024**2, None]
    use(nvmlDeviceGetComputeRunningProcesses=Refused(), nvmlDeviceGetGraphicsRunningProcesses=Refused())
    assert Nvml.open().readings()[0].holders is None


def test_a_card_that_refuses_everything_is_still_a_card(use):
    refusals = {n: Refused() for n in vars(library()) if n.startswith("nvmlDeviceGet") and n not in
                ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")}  # fmt: skip
    use(**refusals)
    connection = Nvml.open()
    (card,), (found,) = connection.cards(), connection.readings()
    assert card.memory_total is None and card.compute_capability is None
    assert found.memory_used is None and found.utilization is None and found.throttle is None


def test_the_drivers_words_are_kept(use):
    use(nvmlInit=Refused("Driver/library version mismatch"))
    assert Nvml.open_or_say() == (None, "Driver/library version mismatch")


def test_a_lost_card_leaves_the_others(use):
    handles = iter(["first", Refused("GPU is lost"), "third"])
    use(nvmlDeviceGetCount=3)

    def handle(_):
        found = next(handles)
        if isinstance(found, Exception):
            raise found
        return found

    sys.modules["pynvml"].nvmlDeviceGetHandleByIndex = handle
    assert [c.index for c in Nvml.open().cards()] == [0, 2]


def test_without_a_driver_the_library_is_not_even_imported(monkeypatch):
    monkeypatch.setattr(nvml, "likely", lambda: False)
    monkeypatch.setitem(sys.modules, "pynvml", types.SimpleNamespace())  # has no nvmlInit: using it would fail
    assert Nvml.open_or_say() == (None, None)


def test_a_driver_that_hangs_is_reported_as_late(use, monkeypatch):
    from onecard.machine import collect

    use(nvmlInit=HANGS)
    monkeypatch.setattr(collect, "DRIVER_PATIENCE", 0.05)
    assert collect.within_driver()["nvml_error"] == "late"


def test_unknown_reasons_show_as_numbers():
    assert throttle(None) is None and throttle(0) == ()
    assert throttle(0x801) == ("idle", "reason 0x800")


@pytest.mark.parametrize(
    ("generation", "width", "gigabytes"),
    [(4, 16, 31.5), (3, 8, 7.88), (5, 16, 63.0), (None, 16, None), (4, None, None)],
)
def test_link_rates(generation, width, gigabytes):
    rate = link_rate(generation, width)
    assert rate is None if gigabytes is None else rate == pytest.approx(gigabytes * 1e9, rel=0.01)


def test_python_processes_are_named_by_their_script_without_its_path():
    assert telling_name("python3", ["python3", "-u", "/home/ada/secret/train.py", "--lr", "1"]) == "python3 train.py"
    assert telling_name("python", ["python", "-m", "onecard", "watch"]) == "python -m onecard"
    assert telling_name("python", ["python"]) == "python"
    assert telling_name("Xorg", ["/usr/lib/xorg/Xorg"]) == "Xorg"


def test_where_the_library_is_looked_for(tmp_path):
    assert nvml.library(tmp_path) is None and not nvml.likely(tmp_path)
    file = tmp_path / "usr/lib/wsl/lib/libnvidia-ml.so.1"
    file.parent.mkdir(parents=True)
    file.touch()
    assert nvml.library(tmp_path) == "/usr/lib/wsl/lib/libnvidia-ml.so.1"
    assert nvml.likely(tmp_path)
