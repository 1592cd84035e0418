"""The command line: one small file per verb, imported when that verb is called; each is a user of onecard.api.

`onecard` alone is `onecard can`. Exit codes: 0 yes (fits, tight, offload, healthy), 1 no (or a check found an error),
2 bad input.
"""

import gc
import sys
from importlib import import_module
from typing import Any

import click

from onecard.core.errors import OnecardError

VERBS = {
    "can": "what can this card do: every workload with its best plan",
    "plan": "will it fit, how fast, with which settings",
    "prove": "run a plan for a few steps with synthetic weights: predicted against measured",
    "run": "do the work",
    "resume": "continue an interrupted run",
    "trace": "peak memory of any PyTorch script, without a GPU",
    "compare": "cards side by side",
    "bench": "measure this device, or a server",
    "records": "what was measured before",
    "report": "one HTML file of everything",
    "doctor": "why is my GPU not used",
    "setup": "the commands that set this machine up",
    "watch": "what is the card doing now",
}
"""Name and one line of help; cli/<verb>.py has a click command called `command`. The order is that of the help."""


class Verbs(click.Group):
    """Finds a verb's file when it is called, so that no verb pays for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [v for v in VERBS if _exists(v)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS or not _exists(name):
            return None
        command: click.Command = import_module(f"onecard.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            from onecard.core.errors import UnknownName

            raise UnknownName("verb", args[0], self.list_commands(ctx), next="onecard --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(v, VERBS[v]) for v in self.list_commands(ctx)])


def _exists(verb: str) -> bool:
    from pathlib import Path

    return (Path(__file__).parent / f"{verb}.py").exists()


@click.group(cls=Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, prog_name="onecard", version=__import__("onecard").__version__)
@click.pass_context
def onecard(ctx: click.Context) -> None:
    """What machine learning can this card do? Predict it, prove it by running it, do it, correct the prediction."""
    if ctx.invoked_subcommand is None:
        from onecard.cli.can import command

        ctx.invoke(command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. A user's mistake prints what, why and what to do next, and leaves with exit code 2."""
    # A plan makes many small values that live to its end: looking for cycles among them took an eighth of `can`.
    gc.set_threshold(100_000, 20, 20)
    try:
        code: Any = onecard(args=arguments, prog_name="onecard", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OnecardError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader (head, less) went away: nothing to say, and nothing left to flush
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: OnecardError) -> None:
    click.secho(f"onecard: {_printable(error.what)}", fg="red", bold=True, err=True)
    if error.why:
        click.echo(f"  why: {_printable(error.why)}", err=True)
    if error.next:
        click.echo(f"  next: {_printable(error.next)}", err=True)


def _printable(text: str) -> str:
    """A name may hold a line end or an escape sequence: it is shown, not obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
