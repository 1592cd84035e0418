"""A score card on the terminal: one line a figure, grouped by area, with its share of the device's own ceiling."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.score import Score
from onecard.core.units import show_rate, show_seconds
from onecard.show.text import bar

_SCALES = {"B/s": ((1e9, "GB/s"),), "FLOP/s": ((1e12, "TFLOP/s"), (1e9, "GFLOP/s"))}


def figure(value: float, unit: str) -> str:
    """A measured number with a unit that people read."""
    if unit == "s":
        return show_seconds(value) if value >= 1e-3 else f"{value * 1e6:.2f} µs"
    scales = _SCALES.get(unit, ((1.0, unit),))
    scale, name = next((s for s in scales if value >= s[0]), scales[-1])
    return show_rate(value / scale, name)


def score_card(device: str, scores: Sequence[Score]) -> RenderableType:
    """All figures; a share over 100 % means that the ceiling is a cautious figure."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for heading in ("median", "± of samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("of its ceiling", "its plan"):
        table.add_column(heading, overflow="fold")
    area = ""
    for score in sorted(scores, key=lambda s: _ORDER.index(s.area) if s.area in _ORDER else len(_ORDER)):
        if score.area != area:
            area = score.area
            table.add_row(Text(area, "bold underline"))
        table.add_row(score.name, figure(score.median, score.unit), _spread(score), _held_against(score), _plan(score))
    busy = sorted({s.busy for s in scores if s.busy})
    notes = [Text(f"{text} when the bench began: its figures are too low", "yellow") for text in busy]
    return Group(Text(device, "bold"), table, *notes)


_ORDER = ("memory", "arithmetic", "launches", "link", "disk", "chat")


def _spread(score: Score) -> str:
    return f"{score.spread:.1%} of {score.samples}" if score.samples > 1 else ""


def _held_against(score: Score) -> Text:
    if score.share is None:
        return Text("")
    return Text.assemble((bar(score.share, 8), "blue"), f" {score.share:.0%} {score.limit}".rstrip())


def _plan(score: Score) -> Text:
    if not score.predicted:
        return Text("")
    low, _, high = score.predicted
    inside = low <= score.median <= high
    text = f"{'inside' if inside else 'outside'} {show_rate(low, '')}to {show_rate(high, '').strip()}"
    return Text(text, "green" if inside else "yellow")
