"""How long the texts are, before the first step: a histogram, the share that will be cut, and the outliers.

Memory grows with the longest row of a batch, so one row of 4,000 tokens among tweets decides the peak where
nothing cuts it; where something does, the reader must know how much is lost.
"""

from collections.abc import Sequence
from typing import Any

_EDGES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def lengths(counts: Sequence[int], limit: int) -> dict[str, Any]:
    """Figures of token counts: histogram by upper edge, median, 95 %, longest, share cut at `limit`, outlying rows.

    An outlier is longer than 8 times the median and than the limit; rows are counted from 1.
    """
    ordered = sorted(counts)
    middle = ordered[len(ordered) // 2]
    histogram = {str(edge): 0 for edge in _EDGES} | {"more": 0}
    for count in ordered:
        edge = next((str(e) for e in _EDGES if count <= e), "more")
        histogram[edge] += 1
    cut = sum(c > limit for c in counts)
    return {
        "rows": len(counts),
        "histogram": {k: v for k, v in histogram.items() if v},
        "median": middle,
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "longest": ordered[-1],
        "cut_rows": cut,
        "cut_share": cut / len(counts),
        "lost_tokens_share": sum(max(0, c - limit) for c in counts) / max(1, sum(counts)),
        "outliers": [i for i, c in enumerate(counts, start=1) if c > limit and c > 8 * middle][:20],
    }


def told(found: dict[str, Any], limit: int, what: str = "texts") -> str:
    """One or two sentences for the screen."""
    text = f"{what}: median {found['median']} tokens, 95 % within {found['p95']}, longest {found['longest']:,}"
    if found["cut_rows"]:
        share = 100 * found["cut_share"]
        text += f"; {found['cut_rows']} of {found['rows']:,} ({share:.2g} %) are cut at {limit}"
        text += f" and lose {100 * found['lost_tokens_share']:.2g} % of all tokens"
    if found["outliers"]:
        rows = ", ".join(map(str, found["outliers"][:5]))
        text += f"; unusually long: row {rows}" + (" ..." if len(found["outliers"]) > 5 else "")
    return text
