"""Options that come from a workload's Settings: one wording, in the settings' own help texts.

`workload_group("plan", ...)` makes a verb whose subcommands are the workloads, each with one option a setting. The
workload's file is imported when that subcommand is called.
"""

from collections.abc import Callable
from typing import Any

import click

from onecard.core.settings import Field, fields

Body = Callable[..., Any]


class Workloads(click.Group):
    """A verb as a group of workloads."""

    def __init__(self, verb: str, body: Body, shared: tuple[click.Parameter, ...], help: str) -> None:
        super().__init__(verb, help=help, subcommand_metavar="WORKLOAD [OPTIONS]", no_args_is_help=True)
        self.body = body
        self.shared = shared

    def list_commands(self, ctx: click.Context) -> list[str]:
        from onecard.api import workloads

        return list(workloads())

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        from onecard.api import workload_settings, workload_title

        settings = workload_settings(name)
        options = [setting_option(f) for f in fields(settings)]
        own = {f.name for f in fields(settings)}

        def call(**values: Any) -> Any:
            given = {k: v for k, v in values.items() if k in own and v is not None}
            rest = {k: v for k, v in values.items() if k not in own}
            return self.body(name, given, **rest)

        return click.Command(
            name, callback=call, params=[*options, *self.shared], help=f"{self.help}\n\n{workload_title(name)}."
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from onecard.api import workload_title

        with formatter.section("Workloads"):
            formatter.write_dl([(n, workload_title(n)) for n in self.list_commands(ctx)])


def setting_option(field: Field) -> click.Option:
    """--context INTEGER for one setting; without it the setting's own default holds."""
    flag = "--" + field.name.replace("_", "-")
    note = "" if field.default is None or field.required else f"  [default: {field.default}]"
    note = note or ("  [default: the planner chooses]" if field.optional else "")
    help_text = field.help + note
    if field.type is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", field.name], default=None, help=help_text)
    # Values stay strings: Settings convert and validate them, so that every door gives the same messages.
    metavar = "|".join(str(o) for o in field.options) if field.options else field.type.__name__.upper()
    return click.Option([flag, field.name], default=None, help=help_text, metavar=metavar)


ON = click.Option(["--on"], help='another card by name, or as numbers: "memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS"')
BUDGET = click.Option(["--budget"], help="use at most this much device memory, like 12GiB")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="print JSON")
EXPLAIN = click.Option(["--explain"], is_flag=True, help="show the equation of each number and what it rests on")


def workload_group(verb: str, body: Body, *shared: click.Parameter, help: str) -> Workloads:
    """A verb over all workloads; body(workload, settings, **shared) does it."""
    return Workloads(verb, body, shared, help)


def echo_json(value: Any) -> None:
    """One JSON document on standard output, keys in the order of the types."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
