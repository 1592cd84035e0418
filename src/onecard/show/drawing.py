"""Small drawings as SVG text: no library, no script, no network; colours are CSS variables, so they follow light and dark.

Coordinates are SVG's (y grows downwards). Every drawing has a title and a text alternative.
"""

import math
from collections.abc import Sequence
from html import escape

COLOURS = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8")


def stacked_bar(parts: Sequence[tuple[str, float]], whole: float, mark: float | None, label: str) -> str:
    """Parts of a peak side by side on a scale from 0 to `whole`; `mark` is a line (what is usable)."""
    x, pieces = 0.0, []
    for i, (name, size) in enumerate(parts):
        width = 100 * size / whole
        pieces.append(
            f'<rect x="{x:.3f}" y="0" width="{width:.3f}" height="10" style="fill:var({COLOURS[i % len(COLOURS)]})">'
            f"<title>{escape(name)}</title></rect>"
        )
        x += width
    if mark is not None:
        at = min(99.7, 100 * mark / whole)
        pieces.append(
            f'<rect x="{at:.3f}" y="-1" width="0.4" height="12" style="fill:var(--ink)"><title>usable</title></rect>'
        )
    frame = f'viewBox="0 -1 100 12" preserveAspectRatio="none" role="img" aria-label="{escape(label)}"'
    return f'<svg class="bar" {frame}>{"".join(pieces)}</svg>'


def range_bar(low: float, likely: float, high: float, measured: float | None, label: str) -> str:
    """A predicted range with its likely value and, where there is one, the measurement as a dot."""
    top = max(high, measured or 0) * 1.1

    def at(value: float) -> float:
        return 200 * value / top

    dot = (
        ""
        if measured is None
        else f'<circle cx="{at(measured):.2f}" cy="8" r="4" style="fill:var(--c2)"><title>measured</title></circle>'
    )
    return (
        f'<svg class="range" viewBox="0 0 200 16" role="img" aria-label="{escape(label)}">'
        f'<line x1="0" y1="8" x2="200" y2="8" style="stroke:var(--line)"/>'
        f'<rect x="{at(low):.2f}" y="4" width="{max(1.0, at(high) - at(low)):.2f}" height="8" rx="3" style="fill:var(--c1);opacity:.45"/>'
        f'<rect x="{at(likely) - 0.75:.2f}" y="2" width="1.5" height="12" style="fill:var(--c1)"/>{dot}</svg>'
    )


def scatter(points: Sequence[tuple[float, float, str]], unit: str) -> str:
    """Predicted (up) against measured (right) on logarithmic axes, with the diagonal and lines at 10 % on both sides."""
    values = [v for x, y, _ in points for v in (x, y) if v > 0]
    if not values:
        return ""
    low, high = 10 ** math.floor(math.log10(min(values) * 0.9)), 10 ** math.ceil(math.log10(max(values) * 1.1))
    span = math.log10(high / low)
    size, pad = 300, 44

    def at(value: float) -> float:
        return size * math.log10(value / low) / span

    def line(factor: float, style: str) -> str:
        # y = factor * x, cut to the square
        x1, x2 = max(low, low / factor), min(high, high / factor)
        return (
            f'<line x1="{pad + at(x1):.1f}" y1="{pad + size - at(x1 * factor):.1f}" '
            f'x2="{pad + at(x2):.1f}" y2="{pad + size - at(x2 * factor):.1f}" style="stroke:var(--line);{style}"/>'
        )

    ticks = []
    for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
        value = 10.0**exponent
        text = _tick(value)
        ticks.append(f'<text x="{pad + at(value):.1f}" y="{pad + size + 16}" text-anchor="middle">{text}</text>')
        ticks.append(f'<text x="{pad - 6}" y="{pad + size - at(value) + 4:.1f}" text-anchor="end">{text}</text>')
    dots = "".join(
        f'<circle cx="{pad + at(x):.1f}" cy="{pad + size - at(y):.1f}" r="4" style="fill:var(--c1);opacity:.8">'
        f"<title>{escape(name)}: predicted {y:.4g}, measured {x:.4g} {escape(unit)}</title></circle>"
        for x, y, name in points
        if x > 0 and y > 0
    )
    return (
        f'<svg class="scatter" viewBox="0 0 {size + 2 * pad} {size + 2 * pad}" role="img" '
        f'aria-label="predicted against measured, {escape(unit)}">'
        f'<rect x="{pad}" y="{pad}" width="{size}" height="{size}" style="fill:none;stroke:var(--line)"/>'
        f"{line(1.0, '')}{line(1.1, 'stroke-dasharray:3')}{line(1 / 1.1, 'stroke-dasharray:3')}{''.join(ticks)}{dots}"
        f'<text x="{pad + size / 2}" y="{pad + size + 36}" text-anchor="middle">measured, {escape(unit)}</text>'
        f'<text x="{pad}" y="{pad - 12}">predicted, {escape(unit)}; dashed: 10 % off</text></svg>'
    )


def _tick(value: float) -> str:
    """1, 1,000, 10k, 1M: short enough for the space beside an axis."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= scale:
            return f"{value / (1e3 if letter == 'k' else scale):g}{letter}"
    return f"{value:,g}"


def timeline(name: str, times: Sequence[float], values: Sequence[float], unit: str, most: int = 400) -> str:
    """One sampled quantity over the seconds of a run; thinned by keeping each stretch's largest value, so no peak is lost."""
    if len(values) < 2 or times[-1] <= times[0]:
        return ""
    step = math.ceil(len(values) / most)
    pairs = [max(zip(values[i : i + step], times[i : i + step], strict=True)) for i in range(0, len(values), step)]
    top = max(max(values), 1e-12)
    width, height, pad = 600, 90, 4
    points = " ".join(
        f"{pad + (t - times[0]) / (times[-1] - times[0]) * (width - 2 * pad):.1f},{pad + (1 - v / top) * (height - 2 * pad):.1f}"
        for v, t in pairs
    )
    return (
        f'<figure><svg class="timeline" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)} over time">'
        f'<polyline points="{points}" style="fill:none;stroke:var(--c1);stroke-width:1.5"/></svg>'
        f"<figcaption>{escape(name)}: at most {top:.4g} {escape(unit)}, over {times[-1] - times[0]:.1f} s</figcaption></figure>"
    )
