"""Recordings written by hand: what is missing is unknown, what follows is filled in, what is wrong is named."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from machines import FOLDER, base, healthy_names

from onecard.machine.facts import Facts, encode
from onecard.machine.recording import read
from onecard.machine.rules import diagnose

HERE = Path(__file__).parent


def facts(**fields):
    return read(json.dumps(fields).encode(), HERE)[0]


def test_one_field_is_enough_and_nulls_are_unknown():
    assert facts(system="linux") == Facts(system="linux")
    assert facts(system="windows", packages=None, cards=None, torch=None, python=None) == Facts(system="windows")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Linux", "linux"), ("Windows", "windows"), ("macOS", "darwin"), ("Darwin", "darwin"), ("WSL2", "linux")],
)
def test_systems_by_their_usual_names(written, meant):
    assert facts(system=written).system == meant and facts(system=written).wsl == (written == "WSL2")


def test_what_follows_is_filled_in():
    told = facts(system="linux", driver="535.183.01", torch="2.5.1+cu121", cards={"name": "NVIDIA GeForce RTX 3060"})
    assert told.driver_cuda == 12020 and told.torch.cuda == "12.1" and told.cards[0].compute_capability == "8.6"
    assert facts(system="linux", packages={"torch": "2.9.1+rocm6.4"}).torch.hip == "6.4"
    assert facts(system="linux", torch="2.9.1+cpu").torch.cuda is None
    assert facts(system="linux", driver="1.2").driver_cuda is None


def test_numbers_as_people_write_them():
    told = facts(
        system="linux", memory_total="32 GiB", driver_cuda=12.4, cards=[{"compute_capability": 8.9}], kernel_log="x"
    )
    assert told.memory_total == 32 * 2**30 and told.driver_cuda == 12040
    assert told.cards[0].compute_capability == "8.9" and told.kernel_log == ("x",)
    assert facts(readings=[{"throttle": 0x44}]).readings[0].throttle == ("power cap", "heat (hardware)")
    assert facts(readings=[{"throttle": ["SW Power Cap"]}]).readings[0].throttle == ("power cap",)


def test_names_that_no_field_has_are_told():
    told, unknown = read(b'{"system": "linux", "drivr": "1", "cards": [{"nme": "x"}], "packages": {"any": "1"}}', HERE)
    assert unknown == ("drivr", "cards.0.nme") and told.system == "linux"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "list"), ("3", "int"), ('"x"', "str"), ("{}", "none of its names"), ('{"a": 1}', "a"),
        ('{"load": "x"}', "$.load"), ('{"cards": [7]}', "$.cards[0]"), ('{"torch": 2.9}', "$.torch"),
        ('{"memory_total": "12 parsecs"}', "memory_total"), ('{"base": "nothing.json", "changes": {}}', "nothing.json"),
        ('{"base": "loop.json", "changes": {}}', "on one another"),
        ('{"base": "linux.json", "changes": {"cards.9.name": "x"}}', "cards.9"),
        ('{"base": "linux.json", "changes": {"host.deep.er": "x"}}', "host.deep"),
        ('{"base": "linux.json", "changes": [1]}', "changes"), ("{", "line 1"),
    ],
)  # fmt: skip
def test_nonsense_is_named_and_never_breaks(tmp_path, text, word):
    (tmp_path / "loop.json").write_text('{"base": "loop.json", "changes": {}}')
    (tmp_path / "linux.json").write_text(json.dumps(base("linux")))
    with pytest.raises((ValueError, OSError)) as error:
        read(text.encode(), tmp_path)
    assert word in str(error.value)


@pytest.mark.parametrize("seed", range(80))
def test_random_damage_is_either_read_or_refused(seed):
    """Values of wrong kinds in random places: an error of the file at most, and no rule breaks on what is left."""
    chance = random.Random(seed)
    whole = base(chance.choice(healthy_names()))
    for _ in range(4):
        here = whole
        while True:
            key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
            if isinstance(here[key], dict | list) and here[key] and chance.random() < 0.7:
                here = here[key]
                continue
            here[key] = chance.choice(
                [None, "", "garbage", -1, 0, 1e30, True, [], {}, "12 GiB", "\x00", ["a"], {"a": 1}]
            )
            break
    try:
        told, _ = read(json.dumps(whole).encode(), FOLDER)
    except ValueError:
        return
    assert not [f.evidence for f in diagnose(told) if f.title.startswith("the check")]


@pytest.mark.parametrize("name", healthy_names())
def test_what_was_recorded_is_read_as_it_was(name):
    once, _ = read(json.dumps(base(name)).encode(), FOLDER)
    again, unknown = read(encode(once), FOLDER)
    assert again == once and unknown == ()
    assert msgspec.json.decode(encode(once), type=Facts) == once
