"""onecard report: one file of everything that was planned and measured on this machine."""

import click


@click.command()
@click.argument("file", default="onecard-report.html")
@click.option("--redact", is_flag=True, help="without user name, host name and paths of the home folder")
@click.option("--plans/--no-plans", default=True, help="with what `onecard can` says of this machine")
def command(file: str, redact: bool, plans: bool) -> None:
    """Write one self-contained report; the ending chooses the form: .html, .md, .json or .csv."""
    from onecard.api import can, gather, report

    content = gather(plans=can() if plans else (), commands=(f"onecard report {file}",))
    click.echo(f"wrote {report(file, redact=redact, content=content)}")
