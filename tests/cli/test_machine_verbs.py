"""doctor, setup and watch as commands: exit codes, JSON, and what a pipe gets."""

import json
from pathlib import Path

import pytest

from onecard.cli import main

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEALTHY = FIXTURES / "machines" / "healthy"


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return call


def machine(tmp_path, **changes):
    facts = json.loads((HEALTHY / "linux.json").read_text())
    (tmp_path / "m.json").write_text(json.dumps({**facts, **changes}))
    return tmp_path / "m.json"


def test_exit_codes_of_doctor(run, tmp_path):
    assert run("doctor", "--fixture", HEALTHY / "linux.json")[0] == 0
    assert run("doctor", "--fixture", machine(tmp_path, load=99.0))[0] == 0
    assert run("doctor", "--fixture", machine(tmp_path, environment={"CUDA_VISIBLE_DEVICES": ""}))[0] == 1
    code, _, err = run("doctor", "--fixture", "/no/such/file")
    assert code == 2 and "next:" in err and "Traceback" not in err
    assert run("doctor", "--explain", "nonsense")[0] == 2
    assert run("doctor", "--deep", "--fixture", HEALTHY / "linux.json")[0] == 2
    assert run("doctor", "--time", "soon", "--fixture", HEALTHY / "linux.json")[0] == 2


def test_json_has_the_findings(run, tmp_path):
    code, out, _ = run(
        "doctor", "--json", "--redact", "--fixture", machine(tmp_path, environment={"CUDA_VISIBLE_DEVICES": ""})
    )
    told = json.loads(out)
    assert code == 1 and [f["rule"] for f in told["findings"]] == ["card-hidden"]
    assert {"rule", "evidence", "cause", "next", "severity", "source", "date"} <= set(told["findings"][0])
    assert "ada" not in out.replace("adapter", "")


def test_rules_are_listed_and_explained(run):
    code, out, _ = run("doctor", "--rules", "--json")
    assert code == 0 and len(json.loads(out)) >= 45
    code, out, _ = run("doctor", "--explain", "driver-too-old")
    assert code == 0 and "CUDA major version" in out


def test_setup_prints_and_refuses_to_apply_to_another_machine(run, tmp_path):
    code, out, _ = run("setup", "--fixture", machine(tmp_path, torch=None, packages={"pip": "26.0"}))
    assert code == 0 and "python -m pip install torch --index-url https://download.pytorch.org/whl/cu130" in out
    code, out, _ = run("setup", "--json", "--fixture", HEALTHY / "amd.json")
    assert code == 0 and {s["name"] for s in json.loads(out)} >= {"environment", "torch", "check"}
    assert run("setup", "--apply", "--fixture", HEALTHY / "amd.json")[0] == 2


def test_setup_asks_before_each_step(run, monkeypatch):
    from onecard.api import machines
    from onecard.core.finding import Step

    done = []
    monkeypatch.setattr(
        machines, "setup", lambda fixture: (Step(name="x", title="x", command="c", arguments=("python", "-c", "")),)
    )
    monkeypatch.setattr(machines, "apply", lambda step: done.append(step) or 7)
    monkeypatch.setattr("click.confirm", lambda *a, **k: False)
    run("setup", "--apply")
    assert not done
    code, _, err = run("setup", "--apply", "--yes")
    assert code == 1 and len(done) == 1 and "code 7" in err


def test_watch_once_and_as_a_stream(run):
    code, out, _ = run("watch", "--once")
    assert code == 0 and "memory" in out
    code, out, _ = run("watch", "--json", "--count", "2", "--every", "100ms")
    assert code == 0 and len(out.splitlines()) == 2 and json.loads(out.splitlines()[0])["readings"][-1]["kind"] == "cpu"


def test_a_stream_can_be_replayed(run, tmp_path):
    _, out, _ = run("watch", "--json", "--count", "2", "--every", "100ms")
    (tmp_path / "t.jsonl").write_text(out)
    code, again, _ = run("watch", "--json", "--replay", tmp_path / "t.jsonl")
    assert code == 0 and again == out


def test_a_replay_shows_plan_against_reality(run):
    code, out, _ = run("watch", "--replay", FIXTURES / "traces" / "finetune_on_12gb.jsonl", "--once", "--count", "66")
    assert code == 0 and "planned" in out and "against the likely rate" in out and "heat" in out


@pytest.mark.parametrize(
    "arguments", [("--every", "1ms"), ("--every", "often"), ("--replay", "/none"), ("--run", "none"), ("--count", "0")]
)
def test_bad_input_is_exit_2(run, arguments):
    assert run("watch", *arguments)[0] == 2
