"""onecard resume RUN: continue an interrupted run from its last checkpoint."""

from typing import Any

import click

from onecard.cli.normal import tell
from onecard.cli.options import echo_json


@click.command("resume")
@click.argument("run", metavar="RUN")
@click.option("--time", "limit", help="stop and save after this time, like 30m")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(run: str, limit: str | None, as_json: bool) -> int:
    """Continue a run that was stopped or killed, with the settings that it had; its id's first letters do."""
    from onecard.api import resume
    from onecard.cli.live import Live
    from onecard.cli.outcomes import exit_code
    from onecard.core.units import parse_duration

    codes: list[int] = []
    with Live() as live:

        def on_event(event: dict[str, Any]) -> None:
            live(event)
            if event["event"] == "result":
                codes.append(event.get("exit_code", 0))

        record = resume(run, on_event=on_event, seconds=parse_duration(limit) if limit else None)
    if as_json:
        echo_json(record)
    else:
        from onecard.show.console import show
        from onecard.show.record import record_view

        show(record_view(record))
        tell(record)
    return exit_code(record, codes)
