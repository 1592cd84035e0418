"""How accurate is onecard? Every published row predicted and held against its measurement.

    python benchmarks/published.py                  tables (make accuracy)
    python benchmarks/published.py --json           everything, row by row
    python benchmarks/published.py --data benchmarks/measurements/newer     builds of llama.cpp since 2024-06
    python benchmarks/published.py --data FOLDER    other files with the same columns (memory.csv, speed.csv)
    python benchmarks/published.py --task llm_inference --quiet     one task, targets only

Groups are split: "fit" rows shaped the constants of predict/, "held-out" rows did not: neither did any row of another file.
"""

import argparse
import sys
from pathlib import Path

import published_frame as frame

from onecard.core.errors import OnecardError


def main(arguments: list[str] | None = None) -> int:
    """Prints tables or JSON; 0 if every target that has rows holds, else 1; 2 where there is nothing to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "measurements")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--task", help="only rows of this task")
    parser.add_argument("--quiet", action="store_true", help="targets only")
    given = parser.parse_args(arguments)
    try:
        rows = [r for r in frame.read(given.data) if not given.task or r["task"] == given.task]
    except OnecardError as error:
        print(error, file=sys.stderr)
        return 2
    if not rows:
        print(f"no memory.csv or speed.csv with rows in {given.data}", file=sys.stderr)
        return 2
    report = frame.report(frame.judge(rows))
    if given.json:
        print(frame.dump(report))
    else:
        text = frame.show(report)
        print(text[text.index("unmapped LLM rows") :] if given.quiet else text)
    return 0 if all(t["verdict"] in ("holds", "no rows") for t in report["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
