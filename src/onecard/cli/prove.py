"""onecard prove WORKLOAD: a few steps with synthetic weights; predicted against measured."""

from typing import Any

import click

from onecard.cli.normal import tell
from onecard.cli.options import BUDGET, JSON, echo_json, workload_group

THREADS = click.Option(["--threads"], type=click.IntRange(min=1), help="of the processor  [default: all its cores]")
FORCE = click.Option(["--force"], is_flag=True, help="run it also where the plan says that it does not fit")


def _prove(
    workload: str, settings: dict[str, Any], budget: str | None, force: bool, threads: int | None, as_json: bool
) -> int:
    from onecard.api import prove
    from onecard.cli.live import Live
    from onecard.cli.outcomes import exit_code

    codes: list[int] = []

    with Live() as live:

        def on_event(event: dict[str, Any]) -> None:
            live(event)
            if event["event"] == "result":
                codes.append(event.get("exit_code", 0))

        record = prove(workload, budget=budget, force=force, threads=threads, on_event=on_event, **settings)
    if as_json:
        echo_json(record)
    else:
        from onecard.show.console import show
        from onecard.show.record import record_view

        show(record_view(record))
        tell(record)
    return exit_code(record, codes)


command = workload_group(
    "prove",
    _prove,
    BUDGET,
    FORCE,
    THREADS,
    JSON,
    help="Run a plan for a few steps with synthetic weights (no download) and compare prediction and measurement.",
)
