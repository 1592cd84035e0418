"""One line on standard error for each step of a long verb: what runs now, and what came of it."""

import time

import click

from onecard.core.record import Record

_began: dict[str, float] = {}


def step_line(name: str, record: Record | None) -> None:
    """Called with None when a step begins and with its Record when it is done."""
    if record is None:
        _began[name] = time.perf_counter()
        click.echo(f"  {name} ...", nl=False, err=True)
        return
    seconds = time.perf_counter() - _began.pop(name, time.perf_counter())
    outcome = "" if record.outcome == "ok" else f" {record.outcome}: {record.error}"
    click.echo(f"\r  {name} ({seconds:.1f} s){outcome}", err=True)
