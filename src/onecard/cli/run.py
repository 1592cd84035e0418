"""onecard run WORKLOAD: do the work. A chat is talked to here, answered once (--prompt) or served (--serve)."""

from typing import Any

import click

from onecard.cli.normal import tell
from onecard.cli.options import BUDGET, JSON, echo_json, workload_group

PARAMETERS = (
    click.Option(["--prompt"], help="chat: answer this and leave"),
    click.Option(["--system"], help="chat: what the model is told before everything"),
    click.Option(["--tokens"], type=click.IntRange(min=1), help="chat: most tokens of one answer"),
    click.Option(["--serve"], is_flag=True, help="chat: an OpenAI-compatible server on 127.0.0.1 until Ctrl-C"),
    click.Option(
        ["--weights"], help="chat: the GGUF file, or a hub repository with GGUF files, of a model named by its name"
    ),
    click.Option(["--port"], type=click.IntRange(1, 65535), help="port of the server  [default: 8137]"),
    click.Option(["--limit"], help="stop and save after this time, like 30m"),
    click.Option(["--threads"], type=click.IntRange(min=1), help="of the processor  [default: all its cores]"),
    click.Option(["--force"], is_flag=True, help="run it also where the plan says that it does not fit"),
)


def _run(
    workload: str,
    settings: dict[str, Any],
    budget: str | None,
    limit: str | None,
    force: bool,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    from onecard.api import run
    from onecard.cli.live import Live
    from onecard.cli.outcomes import exit_code
    from onecard.cli.talk import Talk
    from onecard.core.units import parse_duration

    asked = {k: v for k, v in options.items() if v not in (None, False)}
    with Live() as live:
        talk = Talk(live, quiet=as_json)
        record = run(
            workload,
            budget=budget,
            force=force,
            threads=threads,
            options=asked,
            seconds=parse_duration(limit) if limit else None,
            on_event=talk,
            **settings,
        )
    if talk.open_line:
        click.echo()
    if as_json:
        echo_json(record)
    elif not talk.talked or record.outcome in ("failed", "oom"):
        from onecard.show.console import show
        from onecard.show.record import record_view

        show(record_view(record))
        tell(record)
    else:
        click.secho(f"record {record.id}", dim=True, err=True)
        tell(record, err=True)
    return exit_code(record, talk.codes)


command = workload_group("run", _run, BUDGET, *PARAMETERS, JSON, help="Do the work of a workload on this machine.")
