"""onecard trace FILE.py[:function]: peak memory and speed of any PyTorch step, without a GPU."""

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
    on: str | None,
    budget: str | None,
    as_json: bool,
) -> int:
    from onecard.api.traces import split_arguments, traced

    settings, arguments = split_arguments(target, rest)
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
    if as_json:
        from onecard.show.trace_json import trace_json

        click.echo(trace_json(answer))
    else:
        from onecard.show.console import show
        from onecard.show.trace import trace_view

        show(trace_view(answer))
    return 1 if answer.fits is False else 0


command.params += [ON, BUDGET, JSON]
