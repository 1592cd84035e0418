"""onecard setup: the exact commands that make this machine ready, and, when asked to, running them."""

import click

from onecard.cli.options import JSON, echo_json


@click.command(params=[JSON])
@click.option("--apply", "run_them", is_flag=True, help="run the commands, asking before each")
@click.option("--yes", is_flag=True, help="with --apply: do not ask")
@click.option("--fixture", metavar="FILE", help="for a recorded machine (onecard doctor --record) instead of this one")
def command(run_them: bool, yes: bool, fixture: str | None, as_json: bool = False) -> int:
    """Which PyTorch for this driver and card, which libraries, and a check at the end. Prints; runs only with --apply."""
    from onecard.api import machines
    from onecard.core.errors import BadSetting

    if fixture and run_them:
        raise BadSetting("--apply with --fixture", why="that machine is not this one", next="leave one of the two out")
    steps = machines.setup(fixture)
    if as_json:
        echo_json(steps)
        return 0
    from onecard.show.console import show
    from onecard.show.setup import setup_view

    show(setup_view(steps), wrap=False)
    if not run_them:
        return 0
    ran = False
    for step in steps:
        if step.done or not step.arguments:
            continue
        click.echo()
        if not yes and not click.confirm(f"run: {step.command}", default=False):
            continue
        code = machines.apply(step)
        if code != 0:
            click.secho(f"that ended with code {code}; nothing more is done", fg="red", err=True)
            return 1
        ran = True
    return _check(ran)


def _check(deep: bool) -> int:
    """What doctor says once all is done; what was just installed is tried on the device."""
    from onecard.api import machines
    from onecard.show.console import show
    from onecard.show.doctor import doctor_view

    if deep:
        click.secho("trying the device, at most 60s ...", dim=True, err=True)
    found = machines.doctor(deep=deep)
    click.echo()
    show(doctor_view(found.machine, found.findings, found.checks, found.measured, found.deep))
    return 0 if found.healthy else 1
