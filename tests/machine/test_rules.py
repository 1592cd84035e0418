"""Every rule on a machine that has its trouble, and on one that only looks like it; no finding on healthy machines."""

import json
import random
import re

import msgspec
import pytest
from machines import FOLDER, case, case_names, healthy_names, patched

from onecard.machine.facts import Facts, Python, decode, encode
from onecard.machine.rules import diagnose, rules


def ids(facts: Facts) -> list[str]:
    return sorted(f.rule for f in diagnose(facts))


@pytest.mark.parametrize("name", healthy_names())
def test_a_healthy_machine_has_no_findings(name):
    found = diagnose(patched(name, {}))
    assert not found, [(f.rule, f.evidence) for f in found]


def test_there_are_ten_kinds_of_healthy_machines():
    kinds = {"linux", "windows", "wsl", "container", "laptop", "two_gpus", "amd", "apple", "cpu_only", "data_centre"}
    assert kinds <= set(healthy_names())


def test_each_rule_has_a_case_and_each_case_a_rule():
    assert case_names() == sorted(r.id for r in rules())


@pytest.mark.parametrize("rule", case_names())
def test_a_rule_finds_its_trouble_and_nothing_else_is_claimed(rule):
    given = case(rule)
    assert rule in given["expect"]
    assert ids(patched(given["base"], given["changes"])) == sorted(given["expect"])


@pytest.mark.parametrize("rule", case_names())
def test_a_near_miss_stays_silent(rule):
    given = case(rule)
    expected = given.get("near_expect", [])
    assert rule not in expected
    assert given["near"] != given["changes"] and given["why"]
    assert ids(patched(given["base"], given["near"])) == sorted(expected), given["why"]


@pytest.mark.parametrize("rule", case_names())
def test_a_finding_is_complete_and_its_texts_are_filled_in(rule):
    given = case(rule)
    found = next(f for f in diagnose(patched(given["base"], given["changes"])) if f.rule == rule)
    for text in (found.title, found.evidence, found.cause, found.next):
        assert text and "{" not in text and "None" not in text, text
        assert "\n" not in text
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", found.date)
    assert found.source.startswith("https://")
    assert found.confidence in ("high", "medium", "low")


def test_a_machine_of_which_nothing_is_known_has_no_findings():
    for system in ("linux", "windows", "darwin"):
        assert ids(Facts(system=system, python=Python(version="3.12.1"))) == []


@pytest.mark.parametrize("name", healthy_names())
def test_no_alarm_when_any_single_fact_is_unknown(name):
    """A field that could not be read is None or empty: it must look neither broken nor make a rule fail."""
    whole = patched(name, {})
    empty = Facts(system=whole.system, python=whole.python)
    for field in msgspec.structs.fields(Facts):
        if field.name in ("system", "python", "container"):  # a container that does not show is taken for a machine
            continue
        partial = msgspec.structs.replace(whole, **{field.name: getattr(empty, field.name)})
        assert not ids(partial), (field.name, ids(partial))


@pytest.mark.parametrize("seed", range(60))
def test_no_check_fails_on_any_mixture_of_facts(seed):
    """Fields of different machines thrown together, some unknown: nonsense, but nothing may break."""
    chance = random.Random(seed)
    sources = [patched(name, {}) for name in healthy_names()]
    sources += [patched(case(r)["base"], case(r)["changes"]) for r in chance.sample(case_names(), 12)]
    empty = Facts(system="linux", python=sources[0].python)
    mixed = {f.name: getattr(chance.choice([*sources, empty]), f.name) for f in msgspec.structs.fields(Facts)}
    found = diagnose(Facts(**mixed))
    assert not [f.evidence for f in found if f.title.startswith("the check")]


def test_facts_survive_json():
    for name in healthy_names():
        facts = patched(name, {})
        assert decode(encode(facts)) == facts


def test_fixtures_name_only_fields_that_exist():
    """A misspelt field would be ignored and the test would prove nothing."""
    for file in sorted((FOLDER / "healthy").glob("*.json")):
        given = json.loads(file.read_text(encoding="utf-8"))
        known = json.loads(encode(decode(file.read_bytes())))
        assert set(given) - set(known) <= {k for k, v in given.items() if v in (None, [], {}, 1, 0, "x86_64")}, (
            file.name
        )
    for rule in case_names():
        given = case(rule)
        for patch in (given["changes"], given["near"]):
            assert {p.split(".")[0] for p in patch} <= set(Facts.__struct_fields__), rule


def test_severities_are_worst_first():
    facts = patched("linux", {"load": 99.0, "environment": {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}})
    assert [f.severity for f in diagnose(facts)] == ["error", "warning", "note"]


def test_the_driver_number_is_decoded_for_people():
    given = case("driver-too-old")
    found = next(f for f in diagnose(patched(given["base"], given["changes"])) if f.rule == "driver-too-old")
    assert "11.6" in found.evidence and "11060" in found.evidence


def test_commands_are_those_of_the_platform():
    patch = {"environment": {"CUDA_LAUNCH_BLOCKING": "1"}}
    on_linux, on_windows = (diagnose(patched(n, patch))[0].next for n in ("linux", "windows"))
    assert on_linux.startswith("unset") and on_windows.startswith("setx")
    in_wsl = diagnose(patched("wsl", {**case("driver-too-old")["changes"]}))
    assert "in Windows" in next(f for f in in_wsl if f.rule == "driver-too-old").next


def test_commands_of_ours_in_the_texts_exist():
    """A rule that sends people to a verb or a flag that is not there is worse than none."""
    from click import Context

    from onecard.cli import VERBS, onecard

    for rule in rules():
        for command in rule.next.values():
            for verb, rest in re.findall(r"onecard ([a-z]+)([^;,()]*)", command):
                assert verb in VERBS, rule.id
                found = onecard.get_command(Context(onecard), verb)
                if found is not None:
                    known = {o for p in [*found.params, *getattr(found, "shared", ())] for o in p.opts}
                    assert set(re.findall(r"--[a-z-]+", rest)) <= known, (rule.id, rest)


def test_rules_point_to_public_sources_and_no_two_have_one_name():
    named = [r.id for r in rules()]
    assert len(named) == len(set(named)) >= 45
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in named)
    assert all("any" in r.next for r in rules())


@pytest.mark.parametrize("version", ["2.13.0a0+git1234", "2.15.0.dev20261101+cu130", "2.13.0+cu130"])
def test_the_published_table_does_not_speak_of_other_builds(version):
    """A board with Arm and capability 11.0, a build of one's own: no list of kernels is known, so nothing is claimed."""
    patch = {
        "torch.version": version,
        "packages.torchvision": None,
        "cards.0.compute_capability": "11.0",
        "architecture": "aarch64",
    }
    assert ids(patched("linux", patch)) == []
    own = {**patch, "architecture": "x86_64", "cards.0.compute_capability": "7.0"}
    assert ("card-too-old" in ids(patched("linux", own))) == (version == "2.13.0+cu130")
