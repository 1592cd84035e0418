"""The frame of `make accuracy`: rows of the published files, what is predicted for each, and how far off that is.

A mapper turns a row of one task into a `Mapped` (what onecard predicts and what was measured, in one unit) or raises
`Unmapped` with the reason. Mappers live in benchmarks/published_<room>.py, each with `MAPPERS = {(file, task): mapper}`;
the folder is the registry, so a new task is a new file. The errors are likely / measured - 1, percentiles over mapped rows.
"""

import csv
import importlib
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, OnecardError
from onecard.core.ranges import Range

HERE = Path(__file__).parent
FILES = ("memory", "speed")


class Unmapped(Exception):
    """A row that cannot be predicted, with the reason; a gap to close."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One published row. Cells are as in the file, empty strings included."""

    file: str
    line: int
    """in the file, header = 1"""
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """What the row measured and what is predicted for it, both in bytes, seconds or units per second (fit: 0/1)."""

    measured: float
    predicted: Range
    engine: str
    quantity: str
    """memory, speed or fit"""
    target: str = ""
    """name of the target this row counts for; empty for none"""


class Result(msgspec.Struct, kw_only=True):
    """One row as it stands in the JSON."""

    file: str
    line: int
    task: str
    source: str
    gpu: str
    model: str
    metric: str
    measured: float | None
    """in bytes, seconds or units per second; as the file has it where the row is not mapped"""
    predicted: tuple[float, float, float] | None
    unmapped: str | None
    engine: str
    quantity: str
    split: str
    target: str = ""

    @property
    def error(self) -> float:
        """likely / measured - 1; 0 for a fit row that is right."""
        assert self.predicted is not None and self.measured is not None
        if self.quantity == "fit":
            return self.predicted[1] - self.measured
        return self.predicted[1] / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the range kept its promise (a fit row has no range: whether the verdict was right)."""
        assert self.predicted is not None and self.measured is not None
        if self.quantity == "fit":
            return self.predicted[1] == self.measured
        return self.predicted[0] <= self.measured <= self.predicted[2]


Mapper = Callable[[Row], Mapped]
Splitter = Callable[[Row], str]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of targets."""

    median: float
    p90: float
    coverage: float = 0.9
    width: float


TARGETS: dict[str, Limit] = {
    "llama.cpp buffers": Limit(median=0.01, p90=0.03, width=1.3),
    "transformers, GPTQ, AWQ, bnb peak memory": Limit(median=0.03, p90=0.08, width=1.3),
    "decode, llama.cpp, batch 1": Limit(median=0.06, p90=0.15, width=1.6),
    "prefill, llama.cpp": Limit(median=0.10, p90=0.25, width=1.6),
    "transformers, vLLM, SGLang, ExLlama, AWQ rates": Limit(median=0.12, p90=0.30, width=1.6),
    "training, peak memory": Limit(median=0.05, p90=0.12, width=1.3),
    "fine-tuning, speed": Limit(median=0.15, p90=0.30, width=1.6),
    "BERT, ResNet-50 of NVIDIA, speed": Limit(median=0.15, p90=0.30, width=1.85),
    "training, which batch runs": Limit(median=0.0, p90=1.0, coverage=0.9, width=1.0),
}


NEEDED = ("task", "metric", "value")
"""columns without which a file is another kind of file"""


def read(folder: Path) -> list[Row]:
    """Every row of the files that the folder has. Raises BadFile for a file that is not a table of these columns."""
    rows = []
    for name in FILES:
        path = folder / f"{name}.csv"
        if not path.is_file():
            continue
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restkey="")
                missing = [c for c in NEEDED if c not in (reader.fieldnames or ())]
                if missing:
                    raise BadFile(
                        f"{path} has no columns {', '.join(missing)}",
                        next="the header is that of measurements/README.md",
                    )
                for r in reader:
                    cells = {k.strip(): (v or "").strip() for k, v in r.items() if k and isinstance(v, str | None)}
                    rows.append(Row(file=name, line=reader.line_num, cells=cells))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadFile(f"{path} is no table in UTF-8: {error}", next="save it as CSV in UTF-8") from None
    return rows


def rooms() -> tuple[dict[tuple[str, str], Mapper], dict[tuple[str, str], Splitter]]:
    """Mappers and splitters of all published_*.py files, by (file, task)."""
    mappers: dict[tuple[str, str], Mapper] = {}
    splitters: dict[tuple[str, str], Splitter] = {}
    for path in sorted(HERE.glob("published_*.py")):
        if path.stem == "published_frame":
            continue
        module = importlib.import_module(path.stem)
        mappers |= getattr(module, "MAPPERS", {})
        splitters |= getattr(module, "SPLITS", {})
    return mappers, splitters


def judge(rows: Iterable[Row]) -> list[Result]:
    """Each row mapped and predicted, or the reason why not."""
    mappers, splitters = rooms()
    results = []
    for row in rows:
        key = (row.file, row["task"])
        result = Result(
            file=row.file, line=row.line, task=row["task"], source=row["source"], gpu=row["gpu"], model=row["model"],
            metric=row["metric"], measured=None, predicted=None, unmapped=None, engine=row["software"],
            quantity="speed" if row.file == "speed" else "memory", split=splitters.get(key, _all_fit)(row),
        )  # fmt: skip
        try:
            result.measured = value_of(row)
            if key not in mappers:
                raise Unmapped(f"no mapper for task {row['task']}")
            mapped = mappers[key](row)
            if mapped.quantity != "fit" and not mapped.measured > 0:
                raise Unmapped(f"value {row['value']} is no measurement")
        except Unmapped as reason:
            result.unmapped = str(reason)
        except OnecardError as error:
            result.unmapped = str(error).splitlines()[0]
        except (ArithmeticError, LookupError, ValueError, TypeError) as error:
            # A cell that no mapper foresaw: one row is lost, with the reason, and not the other thousands.
            result.unmapped = f"a cell could not be read: {type(error).__name__}: {error}"
        else:
            result.measured = mapped.measured
            result.predicted = (mapped.predicted.low, mapped.predicted.likely, mapped.predicted.high)
            result.engine, result.quantity, result.target = mapped.engine, mapped.quantity, mapped.target
        results.append(result)
    return results


VERDICTS = {"yes": 1.0, "true": 1.0, "ok": 1.0, "fits": 1.0, "no": 0.0, "false": 0.0, "oom": 0.0}
"""what a row may say instead of 1 or 0"""


def value_of(row: Row) -> float:
    """The number that the row measured, in its own unit. Raises Unmapped."""
    said = row["value"].strip().lower()
    if row["metric"] == "fit" and said in VERDICTS:
        return VERDICTS[said]
    try:
        value = float(said)
    except ValueError:
        raise Unmapped(f"value {row['value'] or '(empty)'} is no number") from None
    if not math.isfinite(value):
        raise Unmapped(f"value {row['value']} is no measurement")
    return value


def _all_fit(row: Row) -> str:
    return "fit"


def figures(results: list[Result]) -> dict[str, Any]:
    """Rows, mapped, errors, coverage, width and false verdicts of a group."""
    mapped = [r for r in results if r.predicted is not None]
    errors = sorted(abs(r.error) for r in mapped)
    ranged = [r for r in mapped if r.quantity != "fit"]
    fit = [r for r in mapped if r.quantity == "fit"]
    return {
        "rows": len(results),
        "mapped": len(mapped),
        "median_abs_error": _percentile(errors, 0.5),
        "p90_abs_error": _percentile(errors, 0.9),
        "median_signed_error": statistics.median(r.error for r in mapped) if mapped else None,
        "coverage": sum(r.inside for r in mapped) / len(mapped) if mapped else None,
        "width": statistics.median(_width(r) for r in ranged) if ranged else None,
        "false_fits": sum(r.error > 0 for r in fit),
        "false_nos": sum(r.error < 0 for r in fit),
    }


def _width(result: Result) -> float:
    assert result.predicted is not None
    low, _, high = result.predicted
    return high / low if low > 0 else float("inf")


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def report(results: list[Result]) -> dict[str, Any]:
    """The JSON: rows, groups, targets."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        groups.setdefault((r.task, r.source, r.metric, r.engine, r.quantity, r.split), []).append(r)
    names = ("task", "source", "metric", "engine", "quantity", "split")
    return {
        "rows": [{k: v for k, v in msgspec.to_builtins(r).items() if k != "target"} for r in results],
        "groups": [dict(zip(names, key, strict=True)) | figures(found) for key, found in sorted(groups.items())],
        "targets": [target(name, limit, results) for name, limit in TARGETS.items()],
    }


def target(name: str, limit: Limit, results: list[Result]) -> dict[str, Any]:
    """Figures of the held-out rows of a target and whether they hold; rows that shaped the constants stand beside."""
    rows = [r for r in results if r.target == name]
    held = figures([r for r in rows if r.split == "held-out"])
    judged = held if held["mapped"] else figures(rows)
    misses = [
        key
        for key, bad in (
            ("median", judged["median_abs_error"] is None or judged["median_abs_error"] > limit.median),
            ("p90", judged["p90_abs_error"] is None or judged["p90_abs_error"] > limit.p90),
            ("coverage", judged["coverage"] is None or judged["coverage"] < limit.coverage),
            ("width", judged["width"] is not None and judged["width"] > limit.width),  # verdicts have none
        )
        if bad
    ]
    return {
        "name": name,
        "limits": msgspec.to_builtins(limit),
        "split": "held-out" if held["mapped"] else "all",
        "figures": judged,
        "all_rows": figures(rows),
        "verdict": "holds" if not misses else "misses " + ", ".join(misses) if judged["mapped"] else "no rows",
    }


def show(report: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [f"{'task / source / metric / engine':86} {'split':8} {'rows':>5} {'unm.':>5} {'median':>7} {'p90':>7} "
             f"{'signed':>7} {'inside':>7} {'width':>6} {'false fits':>10}"]  # fmt: skip
    for g in report["groups"]:
        name = f"{g['task']} / {g['source'][:38]} / {g['metric']} / {g['engine'][:24]}"
        lines.append(
            f"{name[:86]:86} {g['split']:8} {g['rows']:5} {g['rows'] - g['mapped']:5} {_pc(g['median_abs_error'])} "
            f"{_pc(g['p90_abs_error'])} {_pc(g['median_signed_error'], sign=True)} {_pc(g['coverage'])} "
            f"{_ratio(g['width'])} {g['false_fits']:10}"
        )
    reasons = Counter((r["task"], r["unmapped"]) for r in report["rows"] if r["unmapped"])
    if reasons:
        lines += ["", "not mapped:"] + [f"{n:5}  {task}: {why}" for (task, why), n in reasons.most_common(40)]
    llm = [r for r in report["rows"] if r["task"] == "llm_inference"]
    lost = sum(r["unmapped"] is not None for r in llm)
    lines += ["", f"unmapped LLM rows: {lost} of {len(llm)} ({100 * lost / max(1, len(llm)):.1f} %)", ""]
    lines.append(
        f"{'target':50} {'judged on':9} {'rows':>5} {'median':>14} {'p90':>14} {'inside':>14} {'width':>12}  verdict"
    )
    for t in report["targets"]:
        f, m = t["figures"], t["limits"]
        lines.append(
            f"{t['name']:50} {t['split']:9} {f['mapped']:5} {_pc(f['median_abs_error'])} <={100 * m['median']:3.0f} % "
            f"{_pc(f['p90_abs_error'])} <={100 * m['p90']:3.0f} % {_pc(f['coverage'])} >={100 * m['coverage']:3.0f} % "
            f"{_ratio(f['width'])} <={m['width']:.1f}  {t['verdict']}"
        )
    return "\n".join(lines)


def _pc(value: float | None, sign: bool = False) -> str:
    return "      -" if value is None else f"{100 * value:{'+' if sign else ''}5.1f} %"


def _ratio(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.2f}"


def dump(report: dict[str, Any]) -> str:
    """JSON text; infinities do not occur."""
    return json.dumps(report, indent=1)
