"""onecard trace FILE.py[:function]: peak memory and speed of any PyTorch step, without a GPU."""

from typing import Any

import click

from onecard.cli.options import BUDGET, JSON, ON


@click.command(
    "trace",
    help="Run the code of TARGET on fake tensors and predict its peak memory and speed. TARGET is FILE.py (a script as "
    "it is; its own arguments follow --) or FILE.py:function, which builds a step; NAME=VALUE are the function's settings.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("target")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="[NAME=VALUE]... [-- ARGUMENTS]")
@click.option("--limit", type=float, default=120.0, help="Seconds that the program may run.  [default: 120]")
@click.option("--routing", default="balanced", help="Tokens to experts: balanced or worst.  [default: balanced]")
@click.option("--allocator", default="", help="As in PYTORCH_ALLOC_CONF: expandable_segments:True")
@click.option("--fresh", is_flag=True, help="Do not use a remembered answer.")
@click.option("--html", type=click.Path(), default=None, help="Write the page with timeline and flame view here.")
@click.option("--snapshot", type=click.Path(), default=None, help="Write a file for pytorch.org/memory_viz here.")
@click.option("--max-batch", is_flag=True, help="Find the largest batch=N of the function that fits.")
@click.option("--max-context", is_flag=True, help="Find the largest context=N that fits, in steps of 256.")
@click.pass_context
def command(
    ctx: click.Context,
    target: str,
    rest: tuple[str, ...],
    limit: float,
    routing: str,
    allocator: str,
    fresh: bool,
    html: str | None,
    snapshot: str | None,
    max_batch: bool,
    max_context: bool,
    on: str | None,
    budget: str | None,
    as_json: bool,
) -> int:
    from onecard.api.traces import split_arguments, traced

    settings, arguments = split_arguments(target, rest)
    if max_batch or max_context:
        return _largest("batch" if max_batch else "context", target, settings, on, budget, allocator, limit, as_json)
    answer = traced(
        target,
        on=on,
        budget=budget,
        allocator=allocator,
        arguments=arguments,
        limit=limit,
        routing=routing,
        fresh=fresh,
        **settings,
    )
    if html is not None:
        from pathlib import Path

        from onecard.show.trace_html import trace_html

        Path(html).write_text(trace_html(answer), encoding="utf-8")
    if snapshot is not None:
        from onecard.api.traces import write_snapshot

        write_snapshot(answer, snapshot)
    if as_json:
        from onecard.show.trace_json import trace_json

        click.echo(trace_json(answer))
    else:
        from onecard.show.console import show
        from onecard.show.trace import trace_view

        show(trace_view(answer))
    return 1 if answer.fits is False else 0


def _largest(
    setting: str,
    target: str,
    settings: dict[str, Any],
    on: str | None,
    budget: str | None,
    allocator: str,
    limit: float,
    as_json: bool,
) -> int:
    from onecard.api.fitting import largest

    step, low = (256, 256) if setting == "context" else (1, 1)
    settings.pop(setting, None)
    found = largest(
        target, setting, on=on, budget=budget, allocator=allocator, limit=limit, low=low, step=step, **settings
    )
    if as_json:
        from onecard.show.trace_json import largest_json

        click.echo(largest_json(setting, found))
    else:
        from onecard.show.console import show
        from onecard.show.trace import largest_view

        show(largest_view(setting, found.value, found.room, found.tried))
    return 0 if found.value is not None else 1


command.params += [ON, BUDGET, JSON]
