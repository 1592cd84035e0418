"""Nothing private survives redaction, and the findings stay the same."""

import json
import re

import pytest
from machines import case, healthy_names, patched

from onecard.machine.facts import encode
from onecard.machine.redact import redact, redact_text
from onecard.machine.rules import diagnose


@pytest.mark.parametrize("name", healthy_names())
def test_no_name_of_a_user_or_host_is_left(name):
    facts = patched(name, {})
    text = encode(redact(facts)).decode()
    for private in (facts.user, facts.host, facts.home):
        if private and private not in ("root", "/root"):
            assert not re.search(rf"(?<![\w-]){re.escape(json.dumps(private)[1:-1])}(?![\w-])", text), private
    assert "GPU-00000000-0000" not in text


def test_findings_do_not_change():
    for rule in ("wsl-slow-disk", "torch-twice", "memory-held-by-others", "card-hidden"):
        given = case(rule)
        facts = patched(given["base"], given["changes"])
        assert [f.rule for f in diagnose(redact(facts))] == [f.rule for f in diagnose(facts)]


def test_paths_of_other_people_lose_their_names_too():
    text = redact_text(
        "/home/grace/models /Users/alan/x C:\\\\Users\\\\Grace Hopper\\\\y /mnt/c/Users/edsger/z",
        "ada",
        "tower",
        "/home/ada",
    )
    for name in ("grace", "alan", "Grace", "Hopper", "edsger"):
        assert name not in text


def test_numbers_that_look_private():
    text = redact_text(
        "GPU-12345678-1234-1234-1234-123456789abc 00:1a:2b:3c:4d:5e Serial Number: 0324918066432", None, None, None
    )
    assert "12345678" not in text and "1a:2b" not in text and "0324918066432" not in text


def test_versions_and_words_stay():
    text = "driver 580.95.05, torch 2.13.0, 00000000:01:00.0, root, adamant"
    assert redact_text(text, "ada", "tower", "/home/ada") == text


def test_a_user_with_the_name_of_a_field_takes_nothing_away():
    facts = patched("linux", {"user": "torch", "host": "cards", "home": "/home/torch"})
    kept = redact(facts)
    assert kept.torch.version == facts.torch.version and kept.cards[0].name == facts.cards[0].name
    assert diagnose(kept) == ()
