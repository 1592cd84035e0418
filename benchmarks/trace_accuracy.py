"""How accurate are traces? The allocator model on recordings of real processes, and traced steps against their peaks.

    python benchmarks/trace_accuracy.py                      all tables; exit 1 where a bar is missed
    python benchmarks/trace_accuracy.py --recordings FOLDER  other recordings in the form of recordings/README.md
    python benchmarks/trace_accuracy.py --json               every figure
    python benchmarks/trace_accuracy.py --only recordings    one table: recordings, transformer, parity, times

It needs no GPU. `recordings` needs nothing but onecard, the others need torch.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onecard.core.errors import OnecardError
from onecard.predict.recordings import read, replay

HERE = Path(__file__).parent
Table = dict[str, Any]
"""title, columns, rows (lists of text or numbers), bar (in words), holds (bool), facts (for --json)"""


def recordings(folder: Path) -> Table:
    """Every recorded request must get its recorded address, every segment its recorded size."""
    rows, facts = [], []
    for path in sorted(folder.glob("*.json*")):
        r = replay(read(path))
        name = path.name.removesuffix(".gz").removesuffix(".json")
        error = (
            r.peak_reserved / r.recorded_peak_reserved - 1 if r.recorded_peak_reserved else float(r.peak_reserved > 0)
        )
        share = r.same_address / r.allocations if r.allocations else 1.0
        rows.append(
            [
                name, f"{r.allocations:,}", f"{share:.2%}", f"{r.same_segments}/{r.segments}", str(r.extra_segments),
                f"{r.recorded_peak_reserved / 2**20:,.0f}", f"{error:+.3%}",
            ]
        )  # fmt: skip
        facts.append(
            {
                "recording": name, "allocations": r.allocations, "same_address": r.same_address, "segments": r.segments,
                "same_segments": r.same_segments, "extra_segments": r.extra_segments, "peak_reserved": r.peak_reserved,
                "recorded_peak_reserved": r.recorded_peak_reserved, "exact": r.exact,
            }
        )  # fmt: skip
    return {
        "title": "Recordings replayed through the allocator model",
        "columns": ["recording", "requests", "same address", "same segments", "extra", "peak reserved MiB", "error"],
        "rows": rows,
        "bar": "every address and segment, peak reserved exact",
        "holds": bool(facts) and all(f["exact"] for f in facts),
        "facts": facts,
    }


def tables(folder: Path) -> dict[str, Callable[[], Table]]:
    """The tables by name; those that trace live in files of their own, so that this one needs no torch."""
    result: dict[str, Callable[[], Table]] = {"recordings": lambda: recordings(folder)}
    for name in ("transformer", "parity", "times"):
        if name != "parity" or (HERE.parent / "tests" / "tracing" / "small_models.py").exists():
            result[name] = lambda name=name: importlib.import_module(f"trace_{name}").table(folder)
    return result


def show(table: Table) -> str:
    """One table as text."""
    lines = [table["columns"], *table["rows"]]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(table["columns"]))]
    text = [table["title"]]
    for line in lines:
        cells = [
            str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  " + "  ".join(cells).rstrip())
    text += [f"  {note}" for note in table.get("notes", [])]
    text.append(f"  bar: {table['bar']}: {'holds' if table['holds'] else 'MISSED'}")
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> int:
    """Prints tables or JSON; 0 if every bar holds, 1 if one is missed, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, default=HERE / "recordings")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", action="append", choices=["recordings", "transformer", "parity", "times"])
    given = parser.parse_args(arguments)
    results: dict[str, Table] = {}
    try:
        for name, make in tables(given.recordings).items():
            if not given.only or name in given.only:
                results[name] = make()
                if not given.json:
                    print(show(results[name]), end="\n\n", flush=True)
    except OnecardError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if given.json:
        keep = ("bar", "holds", "facts")
        print(json.dumps({name: {k: t[k] for k in keep} for name, t in results.items()}, indent=1))
    return 0 if results and all(t["holds"] for t in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
