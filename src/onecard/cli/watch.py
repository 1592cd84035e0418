"""onecard watch: memory, work, power, heat and processes of every device, live; a run beside its plan."""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import click

from onecard.cli.options import JSON
from onecard.core.reading import Moment


@click.command(params=[JSON])
@click.option("--every", metavar="TIME", default="1s", show_default=True, help="pause between two looks")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="stop after N looks")
@click.option("--once", is_flag=True, help="one look, printed; with --replay the last moment with its history")
@click.option(
    "--run", "run_id", metavar="ID", help="a run to show beside its plan (default: the one that is under way)"
)
@click.option("--replay", metavar="FILE", help="play a recorded stream (watch --json) or a run's journal")
def command(
    every: str, count: int | None, once: bool, run_id: str | None, replay: str | None, as_json: bool = False
) -> None:
    """What the card does now. Ctrl-C ends it. --json prints one line a moment, for other programs and for --replay."""
    from onecard.api import watching
    from onecard.core.errors import BadSetting
    from onecard.core.units import parse_duration

    pause = parse_duration(every)
    if pause < 0.05:
        raise BadSetting(
            f"--every {every} is too often", why="reading the driver takes time itself", next="--every 100ms"
        )
    moments = (
        watching.replay(replay)
        if replay
        else watching.watch(pause, count=1 if once and not replay else count, run=run_id)
    )
    with suppress(KeyboardInterrupt):
        if as_json:
            _stream(_some(moments, count))
        elif once or not sys.stdout.isatty():
            _print(moments, last_only=once or bool(replay), count=count)
        else:
            _live(_paced(moments, pause) if replay else moments, count)


def _some(moments: Iterable[Moment], count: int | None) -> Iterator[Moment]:
    for number, moment in enumerate(moments):
        if count is not None and number >= count:
            return
        yield moment


def _paced(moments: Iterable[Moment], pause: float) -> Iterator[Moment]:
    """A recording at a pace that people can follow."""
    for moment in moments:
        yield moment
        time.sleep(pause)


def _stream(moments: Iterable[Moment]) -> None:
    import msgspec

    for moment in moments:
        click.echo(msgspec.json.encode(moment).decode())


def _print(moments: Iterable[Moment], last_only: bool, count: int | None) -> None:
    """Plain text for a pipe: every moment, or the last with the history before it."""
    from onecard.show.console import show
    from onecard.show.watch import History, watch_view

    history, last = History(spark_width()), None
    for moment in _some(moments, count):
        history.add(moment)
        last = (
            moment
            if moment.readings or last is None
            else Moment(time=moment.time, readings=last.readings, run=moment.run)
        )
        if not last_only:
            show(watch_view(last, history, columns()))
    if last_only and last is not None:
        show(watch_view(last, history, columns()))


def _live(moments: Iterable[Moment], count: int | None) -> None:
    from rich.live import Live

    from onecard.show.watch import History, watch_view

    history, last = History(spark_width()), None
    with suppress(KeyboardInterrupt), Live(screen=True, auto_refresh=False) as live:
        for moment in _some(moments, count):
            history.add(moment)
            last = _kept(moment, last)
            size = live.console.size
            live.update(watch_view(last, history, size.width, size.height), refresh=True)
    if last is not None:  # the screen is gone; what was seen last stays in the terminal
        from onecard.show.console import show

        show(watch_view(last, history, columns()))


def _kept(moment: Moment, last: Moment | None) -> Moment:
    """A moment without readings (the end of a run) keeps those before it on the screen."""
    if moment.readings or last is None:
        return moment
    return Moment(time=moment.time, readings=last.readings, run=moment.run)


def spark_width() -> int:
    """What is left of the terminal's line beside bars and numbers."""
    return max(0, min(60, columns() - 72))


def columns() -> int:
    """Of the terminal, or what a pipe gets."""
    return shutil.get_terminal_size((110, 40)).columns
