"""The doctor's terminal views."""

import io

from rich.console import Console

from onecard.core.finding import Finding, RuleText, Step
from onecard.show.doctor import doctor_view, rule_view, rules_view
from onecard.show.setup import setup_view

FINDING = Finding(
    rule="r",
    title="T",
    severity="error",
    evidence="saw [bold]this[/bold]",
    cause="C",
    next="do it",
    source="https://x",
    date="2026-01-01",
    confidence="medium",
)
RULE = RuleText(
    rule="r",
    title="T",
    severity="note",
    area="driver",
    cause="C",
    next={"any": "a", "windows": "w"},
    looks_at="L",
    source="https://x",
    date="2026-01-01",
    confidence="low",
)


def text(view):
    console = Console(file=io.StringIO(), width=100, highlight=False)
    console.print(view)
    return console.file.getvalue()


def test_a_finding_shows_all_it_knows_and_brackets_are_no_markup():
    told = text(doctor_view(["system   Linux"], [FINDING], 50, {"memory": "1 GB/s"}, True))
    for word in (
        "T",
        "saw [bold]this[/bold]",
        "do it",
        "https://x",
        "2026-01-01",
        "medium",
        "1 error",
        "1 GB/s",
        "Linux",
    ):
        assert word in told


def test_a_healthy_machine_says_so_and_what_could_still_be_done():
    assert "healthy" in text(doctor_view([], [], 50, {}, False)) and "--deep" in text(
        doctor_view([], [], 50, {}, False)
    )
    assert "--deep" not in text(doctor_view([], [], 50, {}, True))


def test_a_rule_shows_each_platforms_command():
    told = text(rule_view(RULE))
    assert "next (windows)" in told and "L" in told and "low" in told
    assert "driver" in text(rules_view([RULE]))


def test_steps_that_are_done_have_no_command():
    told = text(
        setup_view([Step(name="a", title="done already", done=True), Step(name="b", title="to do", command="run it")])
    )
    assert "✓ done already" in told and "1. to do" in told and "run it" in told
