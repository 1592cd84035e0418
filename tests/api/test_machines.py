"""doctor and setup as functions: recorded machines, bad files, redaction, exit state."""

import json
from pathlib import Path

import msgspec
import pytest

from onecard.api import machines
from onecard.core.errors import BadFile, Unavailable, UnknownName
from onecard.core.finding import Step

FIXTURES = Path(__file__).parent.parent / "fixtures" / "machines" / "healthy"


def test_a_healthy_recorded_machine():
    found = machines.doctor(fixture=FIXTURES / "linux.json")
    assert found.healthy and found.findings == () and found.checks >= 40
    assert any("RTX 4070 Ti" in line for line in found.machine)


def test_an_error_is_not_healthy_but_a_warning_is(tmp_path):
    facts = json.loads((FIXTURES / "linux.json").read_text())
    for environment, healthy in (({"CUDA_LAUNCH_BLOCKING": "1"}, True), ({"CUDA_VISIBLE_DEVICES": "-1"}, False)):
        (tmp_path / "m.json").write_text(json.dumps({**facts, "environment": environment}))
        found = machines.doctor(fixture=tmp_path / "m.json")
        assert len(found.findings) == 1 and found.healthy is healthy


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "line 1"),
        (b"{}", "none of its names"),
        (b'{"hello": 1}', "hello"),
        (b"[1]", "list"),
        (b'{"system": "linux", "python": {"version": "3"}, "load": "x"}', "load"),
        (b'{"schema": 99, "system": "linux", "python": {"version": "3"}}', "newer"),
    ],
)
def test_a_bad_recording_is_a_clear_error(tmp_path, content, word):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(BadFile) as error:
        machines.doctor(fixture=tmp_path / "m.json")
    assert word in str(error.value) and error.value.next


def test_a_missing_recording():
    with pytest.raises(BadFile):
        machines.doctor(fixture="/no/such/file.json")


def test_recording_and_replaying_gives_the_same_findings(tmp_path):
    live = machines.doctor(record=tmp_path / "facts.json", redact=True)
    again = machines.doctor(fixture=tmp_path / "facts.json")
    assert [f.rule for f in again.findings] == [f.rule for f in live.findings] and again.machine == live.machine
    assert not list(tmp_path.glob("*.part"))


def test_a_recording_that_cannot_be_written():
    with pytest.raises(BadFile):
        machines.doctor(fixture=FIXTURES / "linux.json", record="/no/such/folder/facts.json")


def test_explaining_a_rule_and_a_misspelt_one():
    told = machines.explain("driver-too-old")
    assert (
        told.next["any"] and told.source.startswith("https://") and told.area == "driver"
    ) or told.area == "torch_build"
    with pytest.raises(UnknownName) as error:
        machines.explain("driver-to-old")
    assert "driver-too-old" in error.value.nearest


def step(name, *, fixture):
    return next((s for s in machines.setup(FIXTURES / f"{fixture}.json") if s.name == name), None)


@pytest.mark.parametrize("name", sorted(p.stem for p in FIXTURES.glob("*.json")))
def test_setup_has_nothing_to_install_for_torch_on_a_healthy_machine(name):
    assert step("torch", fixture=name).done
    driver = step("driver", fixture=name)
    assert driver is None or driver.done


def patched(tmp_path, fixture, **changes):
    facts = json.loads((FIXTURES / f"{fixture}.json").read_text())
    for key, value in changes.items():
        facts.pop(key, None) if value is None else facts.update({key: value})
        if key == "torch" and value is None:
            facts["packages"].pop("torch", None)
    (tmp_path / "m.json").write_text(json.dumps(facts))
    return {s.name: s for s in machines.setup(tmp_path / "m.json")}


def test_setup_picks_the_build_for_driver_and_card(tmp_path):
    steps = patched(tmp_path, "linux", torch=None, driver="550.54.14", driver_cuda=12040)
    assert "cu126" in steps["torch"].command and not steps["torch"].done
    assert "8.9" in steps["torch"].why and "12.4" in steps["torch"].why and steps["torch"].date


def test_setup_on_a_machine_without_a_card_takes_the_small_build(tmp_path):
    assert patched(tmp_path, "cpu_only", torch=None)["torch"].arguments[-1].endswith("/cpu")


def test_setup_on_a_mac_and_on_amd(tmp_path):
    assert patched(tmp_path, "apple", torch=None)["torch"].command == "python -m pip install torch"
    assert "--torch-backend=auto" in patched(tmp_path, "amd", torch=None)["torch"].command


def test_setup_for_an_intel_card(tmp_path):
    steps = patched(tmp_path, "cpu_only", adapters=["8086:56a0 xe"])
    assert steps["torch"].command.endswith("/whl/xpu")
    ready = {"version": "2.13.0+xpu", "xpu": "20250302", "places": ["/x"]}
    assert patched(tmp_path, "cpu_only", adapters=["8086:56a0 xe"], torch=ready)["torch"].done


def test_a_system_python_gets_an_environment_first(tmp_path):
    steps = patched(tmp_path, "linux", python={"version": "3.12.3", "managed": True})
    assert "venv" in steps["environment"].command and steps["environment"].arguments == ()
    assert not patched(tmp_path, "linux", python={"version": "3.15.1", "virtual": True})["environment"].done


def test_the_driver_is_never_installed_for_the_user(tmp_path):
    steps = patched(
        tmp_path,
        "linux",
        cards=None,
        readings=None,
        driver=None,
        driver_cuda=None,
        nvml_error="Driver Not Loaded",
        modules=[],
    )
    assert steps["driver"].command and steps["driver"].arguments == ()
    with pytest.raises(Unavailable):
        machines.apply(steps["driver"])


def test_a_step_is_run_with_this_interpreter():
    assert machines.apply(Step(name="x", title="x", arguments=("python", "-c", "import sys; sys.exit(3)"))) == 3
    with pytest.raises(Unavailable):
        machines.apply(Step(name="x", title="x", arguments=("no-such-program",)))


def test_devices_of_this_machine():
    assert machines.devices()[-1].kind == "cpu"


def test_a_diagnosis_is_json():
    found = machines.doctor(fixture=FIXTURES / "two_gpus.json")
    assert msgspec.json.decode(msgspec.json.encode(found), type=machines.Diagnosis) == found


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "card-too-new"),
        ("docker: could not select device driver with capabilities: [[gpu]].", "docker-no-toolkit"),
        ("OSError: [WinError 1455] The paging file is too small", "small-paging-file"),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", "secure-boot"),
        ("The NVIDIA driver on your system is too old (found version 11060)", "driver-too-old"),
        ("Failed to initialize NVML: Driver/library version mismatch", "driver-mismatch"),
        ("AssertionError: Torch not compiled with CUDA enabled", "torch-cpu-build"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error", "small-shared-memory"),
    ],
)
def test_an_error_message_leads_to_its_rules(message, rule):
    assert rule in [r.rule for r in machines.matching(message)]


def test_a_message_of_something_else_leads_nowhere():
    assert machines.matching("KeyError: 'foo'") == () and machines.matching("x") == () and machines.matching("") == ()
