"""What devices do now, as a terminal view: bars, numbers, their history, processes, and a run beside its plan."""

import datetime
from collections import deque

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from onecard.core.reading import Attached, Holder, Moment, Reading
from onecard.core.units import show_rate, show_seconds, show_size
from onecard.show.spark import sparkline
from onecard.show.text import bar, rate_unit

LENGTH = 240
"""moments that are kept for the history"""
SPARK = 30
COUNTS = {
    "allocated": "held by tensors",
    "reserved": "kept by torch for reuse",
    "driver": "counted by the driver, context included",
}
"""three counts of one memory, which people take for contradictions"""
WAITING = 10
"""looks over which an idle card is judged"""
MOST = 6
"""processes that are listed"""
BAR = 24
NORMAL = ("idle",)
"""reasons for low clocks that are no trouble"""


class History:
    """The last moments of each device, for the sparklines."""

    def __init__(self, width: int = SPARK) -> None:
        self.width = width
        self.lines: dict[tuple[str, int, str], deque[float | None]] = {}

    def add(self, moment: Moment) -> None:
        """Remember one moment."""
        for r in moment.readings:
            share = r.memory_used / r.memory_total if r.memory_used is not None and r.memory_total else None
            for name, value in (
                ("memory", share),
                ("busy", r.utilization),
                ("power", r.power),
                ("heat", r.temperature),
            ):
                self.lines.setdefault((r.device, r.index, name), deque(maxlen=LENGTH)).append(value)

    def idle(self, reading: Reading) -> float | None:
        """Share of the last WAITING looks in which a device was not busy; None before there are so many."""
        values = [v for v in self.lines.get((reading.device, reading.index, "busy"), ()) if v is not None][-WAITING:]
        return 1 - sum(values) / len(values) if len(values) == WAITING else None

    def spark(self, reading: Reading, name: str, high: float | None) -> Text:
        """What was remembered of one device as a sparkline between 0 and high."""
        values = self.lines.get((reading.device, reading.index, name), ())
        return Text(sparkline(list(values), self.width, 0.0, high), style="cyan")


def watch_view(moment: Moment, history: History, width: int = 110, height: int | None = None) -> RenderableType:
    """One screen of so many columns and, where it is a screen, lines: fewer processes in a low one, the run first."""
    processes = MOST
    run_lines = 0 if moment.run is None else 4 + len(moment.run.planned_rates) + (2 if width < 100 else 0)
    if height is not None and moment.readings:
        fixed = sum(_lines(r) for r in moment.readings) + run_lines
        processes = max(0, min(MOST, (height - fixed) // len(moment.readings)))
    working = moment.run is not None and not moment.run.outcome and moment.run.done is not None
    panels: list[RenderableType] = [device_panel(r, history, width, processes, working) for r in moment.readings]
    if moment.run is None:
        return Group(*panels)
    low = height is not None and sum(_lines(r) for r in moment.readings) + run_lines > height
    return Group(run_panel(moment.run), *panels) if low else Group(*panels, run_panel(moment.run))


def _lines(r: Reading) -> int:
    """Lines of a device's panel without its processes."""
    reasons = any(t not in NORMAL for t in r.throttle or ())
    return 4 + (r.power is not None) + (r.temperature is not None) + bool(_clocks(r)) + reasons


def device_panel(r: Reading, history: History, width: int = 110, processes: int = MOST, working: bool = False) -> Panel:
    """One device. working: a run is under way, so that an idle card is worth a word."""
    narrow = width < 72
    columns = max(4, min(BAR, width - 36)) if narrow else BAR
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", width=7 if width >= 44 else 6)
    grid.add_column(width=columns, no_wrap=True)
    grid.add_column(width=min(22, width - 10) if narrow else 28, no_wrap=True)
    if not narrow:
        grid.add_column(no_wrap=True)

    def row(name: str, share: float | None, warm: float, hot: float, value: str, spark: Text) -> None:
        cells = (name, _bar(share, warm, hot, columns), value, spark)
        grid.add_row(*cells[: len(grid.columns)])

    used = r.memory_used / r.memory_total if r.memory_used is not None and r.memory_total else None
    total = show_size(r.memory_total) if r.memory_total else "unknown"
    held = f"{show_size(r.memory_used)} of {total}" if r.memory_used is not None else f"unknown of {total}"
    row("memory", used, 0.8, 0.95, held, history.spark(r, "memory", 1.0))
    busy = "unknown" if r.utilization is None else f"{r.utilization:.0%} busy"
    row("work", r.utilization, 2.0, 2.0, busy, history.spark(r, "busy", 1.0))
    if r.power is not None:
        share = r.power / r.power_limit if r.power_limit else None
        of = f" of {r.power_limit:.0f} W" if r.power_limit else " W"
        row("power", share, 0.97, 1.1, f"{r.power:.0f}{of}", history.spark(r, "power", r.power_limit))
    if r.temperature is not None:
        row("heat", r.temperature / 100, 0.83, 0.9, f"{r.temperature:.0f} °C", history.spark(r, "heat", 100.0))
    rest = _clocks(r)
    body: list[RenderableType] = [grid]
    if rest:
        body.append(Text(rest, style="dim"))
    reasons = [t for t in r.throttle or () if t not in NORMAL]
    if reasons:
        body.append(Text.assemble(("held back by ", "dim"), (", ".join(reasons), "yellow")))
    idle = history.idle(r) if working and r.kind != "cpu" else None
    if idle is not None and idle > 0.6:
        body.append(
            Text(
                f"idle {idle:.0%} of the last {WAITING} looks: the run waits for the host (data, Python), not for the card",
                style="yellow",
            )
        )
    if processes:
        body.append(_holders(r, processes))
    title = r.device if r.kind == "cpu" or r.index == 0 else f"{r.index}: {r.device}"
    clock = datetime.datetime.fromtimestamp(r.time).strftime("%H:%M:%S")
    return Panel(Group(*body), title=Text(title, style="bold"), subtitle=clock, title_align="left", subtitle_align="right",
                 box=box.ROUNDED, border_style="dim", padding=(0, 1))  # fmt: skip


def _bar(share: float | None, warm: float, hot: float, columns: int) -> Text:
    if share is None:
        return Text("─" * columns, style="dim")
    style = "red" if share >= hot else "yellow" if share >= warm else "green"
    return Text(bar(share, columns), style=f"{style} on grey23")


def _clocks(r: Reading) -> str:
    found = []
    if r.clock is not None:
        of = f" of {r.clock_max / 1e6:.0f}" if r.clock_max else ""
        found.append(f"clock {r.clock / 1e6:.0f}{of} MHz")
    if r.memory_clock is not None:
        of = f" of {r.memory_clock_max / 1e6:.0f}" if r.memory_clock_max else ""
        found.append(f"memory {r.memory_clock / 1e6:.0f}{of} MHz")
    if r.link_generation is not None:
        of = f" (at most {r.link_generation_max} x{r.link_width_max})" if r.link_generation_max else ""
        found.append(f"PCIe {r.link_generation} x{r.link_width or '?'}{of}")
    return " · ".join(found)


def _holders(r: Reading, most: int) -> RenderableType:
    """Processes by their memory; "not available" where the driver does not tell, never 0."""
    if r.holders is None:
        return Text("memory by process: not available (the driver does not tell)", style="dim")
    if not r.holders:
        return Text("no process holds memory", style="dim")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", min_width=8)
    table.add_column(min_width=22, no_wrap=True)
    table.add_column(justify="right", min_width=13)
    table.add_column(style="dim")
    for h in r.holders[:most]:
        kind = "" if r.kind == "cpu" else h.kind
        table.add_row(str(h.pid or ""), h.name or "unknown", _bytes(h), kind)
    return table


def _bytes(holder: Holder) -> str:
    return show_size(holder.bytes) if holder.bytes is not None else "not available"


def run_panel(run: Attached) -> Panel:
    """A run beside its plan: each promise, what is seen, and whether it is kept."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_column()
    table.add_column()
    if run.planned_peak is not None:
        low, likely, high = run.planned_peak
        promised = f"planned {show_size(likely)} ({show_size(low)} to {show_size(high)})"
        seen = f"peak so far {show_size(run.peak)}" if run.peak is not None else "not observed"
        table.add_row("memory", promised, seen, _memory_verdict(run.peak, run.planned_peak))
    for name, promised_rate in run.planned_rates.items():
        phase, unit = rate_unit(name)
        low, likely, high = promised_rate
        measured, word = run.measured.get(name), ""
        if measured is None and not run.outcome:  # the work's own figure beside its progress, until it is measured
            measured, word = _shown_rate(run, name), "now "
        seen = word + show_rate(measured, unit) if measured is not None else "not measured yet"
        promised = f"planned {show_rate(likely, unit)} ({show_rate(low, '').strip()} to {show_rate(high, '').strip()})"
        table.add_row(phase, promised, seen, _rate_verdict(measured, promised_rate))
    body: list[RenderableType] = [_progress(run), table]
    counted = {k: v for k, v in run.peaks.items() if k in COUNTS}
    if len(counted) > 1:
        words = " · ".join(f"{COUNTS[k]} {show_size(counted[k])}" for k in COUNTS if k in counted)
        body.append(Text(f"peaks: {words}", style="dim"))
    others = {k: v for k, v in run.measured.items() if k not in run.planned_rates and not k.startswith("memory.")}
    if others:
        body.append(
            Text(" · ".join(f"{k.replace('_', ' ')} {v:,.4g}" for k, v in list(others.items())[:6]), style="dim")
        )
    title = Text.assemble((f"{run.kind} {run.workload}", "bold"), (f"  {run.id}", "dim"))
    style = "red" if run.outcome and run.outcome != "ok" else "cyan"
    return Panel(Group(*body), title=title, title_align="left", box=box.ROUNDED, border_style=style, padding=(0, 1))


def _shown_rate(run: Attached, name: str) -> float | None:
    """ "tokens_per_s" of the progress for "train_tokens_per_s", where no other promise has the same unit."""
    unit = name.partition("_")[2]
    value = run.shown.get(unit)
    alone = sum(other.partition("_")[2] == unit for other in run.planned_rates) == 1
    return float(value) if alone and isinstance(value, int | float) else None


def _progress(run: Attached) -> Text:
    state = run.outcome or run.phase or "starting"
    words: list[str | tuple[str, str]] = [(state, "bold"), f" after {show_seconds(run.seconds)}"]
    if run.done is not None and not run.outcome:
        unit = f" {run.unit}" if run.unit else ""
        words.append(f"   {run.done:,.0f} of {run.of:,.0f}{unit}  " if run.of else f"   {run.done:,.0f}{unit}  ")
        if run.of:
            words.append((bar(run.done / run.of, 24), "green on grey23"))
    for name, value in list(run.shown.items())[:5]:
        figure = f"{value:,.4g}" if isinstance(value, int | float) else value
        words.append((f"  {name.replace('_', ' ')} {figure}", "dim"))
    return Text.assemble(*words)


def _memory_verdict(seen: float | None, planned: tuple[float, float, float]) -> Text:
    if seen is None:
        return Text()
    if seen > planned[2]:
        return Text(f"! above the plan by {show_size(seen - planned[2])}", style="bold red")
    return Text("✓ as planned" if seen >= planned[0] else "below the plan so far", style="green")


def _rate_verdict(seen: float | None, planned: tuple[float, float, float]) -> Text:
    if seen is None:
        return Text()
    if seen < planned[0]:
        return Text(f"! {seen / planned[1] - 1:+.0%} against the likely rate", style="bold yellow")
    word = "✓ as planned" if seen <= planned[2] else "faster than planned"
    return Text(f"{word} ({seen / planned[1] - 1:+.0%})", style="green")
