"""onecard doctor: why is my GPU not used, and is this machine as fast as it should be."""

import sys

import click

from onecard.cli.options import JSON, echo_json


@click.command(params=[JSON])
@click.option(
    "--deep", is_flag=True, help="also try the device in a child process: kernels, types, copies, memory (about 20 s)"
)
@click.option(
    "--fixture", metavar="FILE", help="look at a recorded machine instead of this one (- reads it from stdin)"
)
@click.option("--record", metavar="FILE", help="write what was looked at to a file, for --fixture")
@click.option("--redact", is_flag=True, help="leave out names of users and hosts, home folders, serial numbers")
@click.option(
    "--explain", metavar="RULE", help="one rule: its cause, commands and source; or an error message in quotes"
)
@click.option("--rules", "list_rules", is_flag=True, help="list all rules")
@click.option("--time", "seconds", metavar="TIME", default="60s", show_default=True, help="deadline of the deep test")
def command(
    deep: bool,
    fixture: str | None,
    record: str | None,
    redact: bool,
    explain: str | None,
    list_rules: bool,
    seconds: str,
    as_json: bool = False,
) -> int:
    """Read-only checks of driver, libraries, memory, disks and speed; each finding with one thing to do.

    Exit code 0: healthy, or warnings only. 1: a check found an error. 2: bad input.
    """
    if explain or list_rules:
        return _rules(explain, as_json)
    from onecard.api import machines
    from onecard.core.errors import BadSetting
    from onecard.core.units import parse_duration

    if deep and fixture:
        raise BadSetting(
            "--deep with --fixture", why="a recorded machine cannot be tried", next="leave one of the two out"
        )
    if deep and sys.stderr.isatty():
        click.secho(f"trying the device, at most {seconds} ...", dim=True, err=True)
    found = machines.doctor(fixture=fixture, deep=deep, redact=redact, record=record, seconds=parse_duration(seconds))
    if as_json:
        echo_json(found)
    else:
        from onecard.show.console import show
        from onecard.show.doctor import doctor_view

        show(doctor_view(found.machine, found.findings, found.checks, found.measured, found.deep, found.not_understood))
    return 0 if found.healthy else 1


def _rules(wanted: str | None, as_json: bool) -> int:
    """All rules; one of them; or those that an error message points to."""
    from onecard.api import machines
    from onecard.show.console import show
    from onecard.show.doctor import rule_view, rules_view

    every = machines.rules()
    if wanted is None:
        echo_json(every) if as_json else show(rules_view(every))
        return 0
    exact = wanted in {rule.rule for rule in every}
    found = (() if exact else machines.matching(wanted)) or (machines.explain(wanted),)
    if as_json:
        echo_json(found[0] if exact else found)
        return 0
    for rule in found:
        show(rule_view(rule))
    return 0
