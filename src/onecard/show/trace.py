"""A trace on the terminal: what it takes, who holds it at the peak, phase by phase, and memory over the step."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.traced import OomPoint, PhasePeak, Replay, Traced
from onecard.core.units import show_rate, show_size
from onecard.show.text import LIMITERS, bar, part_name, rate_unit

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 72, 6
"""columns and lines of the timeline"""


def trace_view(traced: Traced, *, rows: int = 8) -> RenderableType:
    """Everything a person asks of a trace on one screen; `rows` of the top modules and operators."""
    pieces: list[RenderableType] = [_headline(traced), Text(_under(traced), "dim"), Text()]
    if traced.replay.oom is not None:
        pieces += [_oom(traced.replay.oom), Text()]
    pieces += [_held(traced), Text(), _phases(traced.replay), Text(), _top(traced, rows)]
    if traced.replay.allocated:
        pieces += [Text(), *_timeline(traced)]
    if traced.estimate is not None and traced.estimate.rates:
        pieces += [Text(), _speed(traced)]
    pieces += [Text(f"note: {note}", "dim") for note in traced.cost.notes]
    return Group(*pieces)


def _headline(traced: Traced) -> Text:
    room = "" if traced.capacity is None else f" of {show_size(traced.capacity + traced.context)}"
    verdict, style = {True: ("✓ fits", "bold green"), False: ("✗ out of memory", "bold red"), None: ("", "")}[
        traced.fits
    ]
    if traced.fits and traced.replay.retries:
        verdict, style = f"! fits after {traced.replay.retries} retries", "bold yellow"
    return Text.assemble(
        (f"{verdict}  " if verdict else "", style), (traced.target, "bold"), f" on {traced.card}",
        f"   needs {show_size(traced.needs)}{room}",
    )  # fmt: skip


def _under(traced: Traced) -> str:
    events = traced.cost.events
    count = 0 if events is None else len(events.order)
    words = [f"{count:,} allocator events", traced.allocator or "default allocator"]
    if traced.cost.card_class:
        words.append(f"kernels of {traced.cost.card_class}")
    words += [f"{name} {version}" for name, version in traced.cost.versions.items()]
    return " · ".join(words)


def _oom(oom: OomPoint) -> Text:
    where = " in ".join(w for w in (oom.operator, oom.module) if w) or "a request"
    return Text.assemble(
        ("out of memory  ", "bold red"),
        f"{oom.phase or 'the step'}: {where} asks for {show_size(oom.asked)} ({oom.category or 'memory'}); ",
        f"{show_size(oom.allocated)} in use, {show_size(oom.reserved)} reserved, {show_size(oom.limit)} at most",
    )


def _held(traced: Traced) -> Table:
    """The peak by category: what lives, what the allocator keeps beside it, the context."""
    replay = traced.replay
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("at the peak")
    table.add_column("", justify="right")
    table.add_column("")
    lines = [(part_name(name or "other"), size) for name, size in traced.held.categories.items()]
    lines += [("rounding and cached", replay.peak_reserved - traced.held.total), ("CUDA context", traced.context)]
    whole = replay.peak_reserved + traced.context
    for name, size in lines:
        if size > 0:
            table.add_row(name, show_size(size), Text(bar(size / whole), "blue"))
    table.add_row(Text("taken of the card", "bold"), Text(show_size(whole), "bold"), "")
    return table


def _phases(replay: Replay) -> Table:
    """The largest stretch of each phase name, in the order in which they first happened."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("phase", "peak allocated", "peak reserved", "left at its end"):
        table.add_column(title, justify="left" if title == "phase" else "right")
    groups: dict[str, list[PhasePeak]] = {}
    for phase in replay.phases:
        groups.setdefault(phase.name or "(start)", []).append(phase)
    for name, group in groups.items():
        times = f" ×{len(group)}" if len(group) > 1 else ""
        highest = max(group, key=lambda p: p.allocated)
        reserved = max(p.reserved for p in group)
        table.add_row(
            name + times, show_size(highest.allocated), show_size(reserved), show_size(group[-1].allocated_after)
        )
    return table


def _top(traced: Traced, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("modules that hold most", overflow="fold", max_width=48)
    table.add_column("", justify="right")
    table.add_column("operators", overflow="fold", max_width=36)
    table.add_column("", justify="right")
    modules, operators = list(fold(traced.held.modules, rows)), list(fold(traced.held.operators, rows))
    for n in range(max(len(modules), len(operators))):
        cells: list[str] = []
        for column in (modules, operators):
            name, size = column[n] if n < len(column) else ("", 0)
            cells += [name, show_size(size) if name else ""]
        table.add_row(*cells)
    return table


def fold(sizes: dict[str, int], rows: int) -> Iterable[tuple[str, int]]:
    """The largest entries; the rest as one line."""
    items = [(name or "(outside of any)", size) for name, size in sizes.items()]
    yield from items[:rows]
    if len(items) > rows:
        yield f"{len(items) - rows} more", sum(size for _, size in items[rows:])


def thin(values: tuple[int, ...], columns: int) -> list[int]:
    """The largest value of each of so many equal stretches: no peak is lost, and few values are drawn wide."""
    count = len(values)
    bounds = [i * count // columns for i in range(columns + 1)]
    return [max(values[a : max(b, a + 1)]) for a, b in pairwise(bounds)]


def _timeline(traced: Traced) -> Iterable[RenderableType]:
    """Allocated as filled columns, reserved as a line above; the phases below."""
    replay = traced.replay
    allocated, reserved = thin(replay.allocated, WIDTH), thin(replay.reserved, WIDTH)
    top = max(max(reserved), 1)
    for line in reversed(range(HEIGHT)):
        text = Text()
        for used, held in zip(allocated, reserved, strict=True):
            full = used / top * HEIGHT - line
            if full > 0:
                text.append(BLOCKS[min(8, max(1, round(full * 8)))], "blue")
            else:
                text.append("·" if held / top * HEIGHT > line else " ", "dim")
        label = {HEIGHT - 1: f" {show_size(top)} reserved", 0: " blue: allocated"}.get(line, "")
        yield text.append(label, "dim")
    yield Text(_scale(replay, len(allocated)), "dim")


def _scale(replay: Replay, columns: int) -> str:
    """The names of the phases where they begin; short ones make room for long ones."""
    line = [" "] * columns
    free = 0
    for phase in replay.phases:
        at = phase.first * columns // max(len(replay.allocated), 1)
        name = f"|{phase.name}"
        if at >= free and at + len(name) <= columns:
            line[at : at + len(name)] = name
            free = at + len(name) + 1
    return "".join(line)


def _speed(traced: Traced) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("speed")
    table.add_column("", justify="right")
    table.add_column("limited by", style="dim")
    assert traced.estimate is not None
    for name, rate in traced.estimate.rates.items():
        phase, unit = rate_unit(name)
        limiter = traced.estimate.limiters.get(phase, "")
        table.add_row(phase, show_rate(rate.likely, unit), LIMITERS.get(limiter, limiter))
    return table


def largest_view(setting: str, value: int | None, room: int, tried: Sequence[tuple[int, int]]) -> RenderableType:
    """The largest value that fits, and what each traced value needs."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(setting, justify="right")
    table.add_column("needs", justify="right")
    table.add_column("")
    for n, need in sorted(tried):
        mark = ("✓ fits", "green") if need <= room else ("✗ no", "red")
        table.add_row(f"{n:,}", show_size(need), Text(*mark))
    head = f"largest {setting} that fits: {value:,}" if value is not None else f"no {setting} fits"
    return Group(Text.assemble((head, "bold"), f"   of {show_size(room)}"), table)
