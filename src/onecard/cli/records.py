"""onecard records: what was predicted and measured before."""

import click

from onecard.cli.normal import tell
from onecard.cli.options import echo_json


@click.group("records", invoke_without_command=True)
@click.option("--workload", help="only Records of this workload")
@click.option("--device", help="only Records of this device, by its full name")
@click.option("--outcome", type=click.Choice(["ok", "oom", "stopped", "failed"]), help="only Records that ended so")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="at most so many")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def command(
    ctx: click.Context, workload: str | None, device: str | None, outcome: str | None, limit: int, as_json: bool
) -> None:
    """List what was run on this machine, newest first. `onecard records show ID` shows one (its first letters do)."""
    if ctx.invoked_subcommand is not None:
        return
    from onecard.api import records

    found = records(workload=workload, device=device, outcome=outcome, limit=limit)
    if as_json:
        echo_json(found)
        return
    from onecard.show.console import show
    from onecard.show.record import records_view

    show(records_view(found))


@command.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """The same list."""
    ctx.invoke(command, workload=None, device=None, outcome=None, limit=20, as_json=False)


@command.command("show")
@click.argument("identity", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show_one(identity: str, as_json: bool) -> None:
    """One Record with its predictions, measurements and outcome."""
    from onecard.api import record

    found = record(identity)
    if as_json:
        echo_json(found)
        return
    from onecard.show.console import show
    from onecard.show.record import record_view

    show(record_view(found))
    tell(found)
