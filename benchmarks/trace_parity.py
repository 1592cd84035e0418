"""Fake traces against real CPU runs of the same steps: living bytes at the end of every phase, and their peaks.

The nets and the comparison are those of tests/tracing/test_parity.py; here they become a table.
"""

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "tracing"


def available() -> bool:
    """Whether the nets are in this checkout."""
    return (TESTS / "small_models.py").exists() and (TESTS / "test_parity.py").exists()


def table(folder: Path) -> dict[str, Any]:
    """One row a net."""
    sys.path.insert(0, str(TESTS))
    models = importlib.import_module("small_models").MODELS
    watched = importlib.import_module("test_parity").watched
    logging.disable(logging.WARNING)  # of libraries, about the small settings
    rows, facts = [], []
    for name, make in models.items():
        real, fake = watched(make, fake=False), watched(make, fake=True)
        same = real == fake
        peak = max(p for _, _, p in real)
        rows.append([name, len(real), f"{peak / 1024:,.0f}", "identical" if same else "differs"])
        facts.append({"net": name, "phases": len(real), "peak": peak, "identical": same})
    logging.disable(logging.NOTSET)
    return {
        "title": "Traces on fake tensors against real CPU runs",
        "columns": ["net", "phases", "peak KiB", "living bytes and peaks"],
        "rows": rows,
        "bar": "at least 12 nets, identical in every phase",
        "holds": len(facts) >= 12 and all(f["identical"] for f in facts),
        "facts": facts,
    }
