"""A trace as one HTML page that needs nothing else: interactive timeline by category, flame view by module, tables."""

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from onecard.core.cost import CATEGORIES, Events
from onecard.core.traced import Traced
from onecard.core.units import show_size

SMALLEST = 20_000
"""storages below this part of the peak are not drawn: thousands of them together are not visible"""
POINTS = 20_000
"""the allocator's own curves are thinned to so many points"""


def trace_html(traced: Traced) -> str:
    """The whole page as text."""
    replay = traced.replay
    verdict = "" if traced.fits is None else "fits" if traced.fits else "out of memory"
    room = "" if traced.capacity is None else f" of {show_size(traced.capacity + traced.context)}"
    oom = ""
    if replay.oom is not None:
        o = replay.oom
        oom = (
            f'<p class="bad">Out of memory in {escape(o.phase)}: {escape(o.operator)} in {escape(o.module or "no module")} asks for '
            f"{show_size(o.asked)}; {show_size(o.allocated)} in use, {show_size(o.reserved)} reserved, {show_size(o.limit)} at most.</p>"
        )
    data, left_out = _data(traced)
    colours = "".join(
        f'<span class="key" style="background:var(--c{n})"></span>{escape(c)}' for n, c in enumerate(CATEGORIES)
    )
    notes = "".join(f"<li>{escape(n)}</li>" for n in traced.cost.notes)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(traced.target)}: trace</title><style>{_part("css")}</style>
<h1>{escape(traced.target)}</h1>
<p class="soft">on {escape(traced.card)}: needs {show_size(traced.needs)}{room}
{f"({verdict})" if verdict else ""}, {show_size(replay.peak_allocated)} allocated at the peak, {show_size(replay.peak_reserved)} reserved,
{show_size(traced.context)} CUDA context; {escape(traced.allocator or "default allocator")}</p>{oom}
<h2>Memory over the step</h2>
<canvas id="time" data-height="280"></canvas>
<p class="soft">{colours} <span class="key" style="background:var(--ink);height:2px;vertical-align:middle"></span>reserved.
Drag to zoom, double-click for all, click to hold a moment. <button id="topeak">go to the peak</button></p>
<p id="moment"></p>
<h2>Who holds it then, by module <small id="path" class="soft"></small></h2>
<canvas id="flame" data-height="250"></canvas>
<div class="two"><div><h2>By category</h2><table id="categories"></table></div>
<div><h2>Largest storages</h2><table id="largest"></table></div></div>
<p class="soft">{left_out}</p><ul class="soft">{notes}</ul>
<script type="application/json" id="data">{data}</script><script>{_part("js")}</script></html>
"""


@cache
def _part(kind: str) -> str:
    """The page's script or style, from the file beside this one."""
    return (files("onecard.show") / f"trace_page.{kind}").read_text(encoding="utf-8")


def _data(traced: Traced) -> tuple[str, str]:
    """The page's columns as JSON that is safe inside a script element, and what they leave out in words."""
    events, replay = traced.cost.events or Events(sizes=(), order=()), traced.replay
    count = len(replay.allocated) or len(events.order)
    birth, death = lifetimes(events, count)
    least = replay.peak_requested // SMALLEST
    drawn = [n for n, size in enumerate(events.sizes) if size >= least and birth[n] >= 0]
    names = events.names or (("other", "", ""),)
    labels = events.labels or (0,) * len(events.sizes)
    last = len(CATEGORIES) - 1
    known = {name: n for n, name in enumerate(CATEGORIES)}
    step = max(1, -(-count // POINTS))
    value: dict[str, Any] = {
        "size": [events.sizes[n] for n in drawn],
        "birth": [birth[n] for n in drawn],
        "death": [death[n] for n in drawn],
        "label": [labels[n] for n in drawn],
        "names": [[known.get(c, last), m, o] for c, m, o in names],
        "categories": CATEGORIES,
        "marks": [mark for mark in events.marks if mark[0] < count],
        "events": count,
        "step": step,
        "allocated": [max(replay.allocated[i : i + step]) for i in range(0, len(replay.allocated), step)],
        "reserved": [max(replay.reserved[i : i + step]) for i in range(0, len(replay.reserved), step)],
        "peak": replay.peak_event,
        "capacity": traced.capacity if traced.capacity and traced.capacity < 2 * replay.peak_reserved else None,
    }
    missing = len(events.sizes) - len(drawn)
    words = f"{missing:,} storages below {show_size(least)} are not drawn." if missing else ""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/"), words


def lifetimes(events: Events, count: int) -> tuple[list[int], list[int]]:
    """(index of the birth, index of the death or -1) by storage number, within the first `count` events; -1 for never."""
    birth, death = [-1] * len(events.sizes), [-1] * len(events.sizes)
    for at, number in enumerate(events.order[:count]):
        (birth if birth[number] < 0 else death)[number] = at
    return birth, death
