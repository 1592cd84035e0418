"""Records of what gpu_collect.py measured on a GPU: its raw rows in, one Record a case out.

    python benchmarks/gpu_records.py records/nvidia-h200/raw            # writes records/nvidia-h200/collected.jsonl
    python benchmarks/gpu_records.py FOLDER --out FILE --date 2026-11-01
    python benchmarks/gpu_records.py FOLDER --predict                   # with memory as traced here, now

FOLDER holds results*.jsonl as the collector wrote them, one JSON object a case; nothing in it is changed. A row keeps its
id in every run of this script (a hash of the row), so that a second run adds nothing. The lines are those of gpu_check.py: [name,
Record]. A row that a kill cut short is left out and counted; of two rows of one case the later one counts.

--predict traces the same case on a fake card of the same kind and puts its peaks beside the measured ones, as exact ranges:
it was not predicted before it was measured, and says so in the Record ("predicted": "afterwards").
"""

import argparse
import datetime
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.record import OUTCOMES, Measurement, Record

UNITS = {"flops": "FLOP/s", "smallest_cap": "bytes", "peak_reserved": "bytes"}
"""fields of a row of a microbenchmark or of a cap that are figures, beside those whose name tells"""


def rows(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """(the last row of each case, lines that are no whole row)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    broken = 0
    for path in sorted(folder.glob("results*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                row = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError):
                broken += 1
                continue
            if not row.get("case") or row.get("outcome") not in OUTCOMES:
                broken += 1
                continue
            found[str(row.get("block", "")), str(row["case"])] = row
    return list(found.values()), broken


def record(row: dict[str, Any], date: str, predicted: dict[str, int] | None = None) -> Record:
    """One Record of one row. predicted: peaks in bytes by the name of a measurement."""
    settings = {"case": row["case"], **(row.get("settings") or {})}
    figures = [*_memory(row, predicted or {}), *_speed(row), *_micro(row), *_cap(row)]
    phases = row.get("phases") or []
    return Record(
        id=hashlib.sha256(msgspec.json.encode(row, order="sorted")).hexdigest()[:10],
        kind="prove",
        plan={"workload": "gpu-collect", "settings": settings, "device": _device(row)},
        started=date,
        seconds=float(row.get("wall") or 0.0),
        outcome=row["outcome"],
        requested=settings,
        effective={"block": row.get("block", "")},
        environment=_environment(row),
        measurements=tuple(figures),
        samples={"step": [float(s) for s in row.get("seconds") or []]} if row.get("seconds") else {},
        quality={"phases": phases, **({"predicted": "afterwards"} if predicted else {})} if phases else {},
        error=str(row.get("error") or ""),
    )


def _device(row: dict[str, Any]) -> dict[str, Any]:
    """What the card told of itself; nothing is taken from the catalogue."""
    told = {
        "name": row.get("gpu", "unknown"),
        "kind": "cuda",
        "memory_total": row.get("total_memory"),
        "multiprocessors": row.get("sms"),
    }
    return {k: v for k, v in told.items() if v is not None}


def _environment(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"versions": {"torch": row["torch"]} if row.get("torch") else {}}
    return found | {k: row[k] for k in ("cuda", "cudnn", "capability", "alloc_conf") if row.get(k)}


def _memory(row: dict[str, Any], predicted: dict[str, int]) -> Iterator[Measurement]:
    """Peaks over all phases by the allocator's own counters, to the byte; context and driver as NVML counts them."""
    phases = row.get("phases") or []
    for kind in ("allocated", "reserved"):
        sizes = [p[f"peak_{kind}"] for p in phases if p.get(f"peak_{kind}") is not None]
        if sizes:
            exact = predicted.get(f"memory.{kind}")
            promise = None if exact is None else (float(exact),) * 3
            yield Measurement(
                name=f"memory.{kind}",
                unit="bytes",
                predicted=promise,
                measured=float(max(sizes)),
                note="torch's allocator",
            )
    if row.get("context_bytes") is not None:
        yield Measurement(
            name="memory.context",
            unit="bytes",
            predicted=None,
            measured=float(row["context_bytes"]),
            note="NVML, less reserved",
        )
    if row.get("nvml_used") is not None and row.get("nvml_before") is not None:
        grown = float(row["nvml_used"] - row["nvml_before"])
        yield Measurement(
            name="memory.driver", unit="bytes", predicted=None, measured=grown, note="NVML, of the whole card"
        )


def _speed(row: dict[str, Any]) -> Iterator[Measurement]:
    """Median seconds of a step, and the rate in the unit that the case counts in."""
    if not row.get("median_seconds") or not row.get("units"):
        return
    yield Measurement(name="step_seconds", unit="s", predicted=None, measured=float(row["median_seconds"]))
    unit = str(row["unit"])
    yield Measurement(
        name=f"{row.get('block', 'step')}_{unit.replace(' ', '_')}_per_s",
        unit=f"{unit}/s",
        predicted=None,
        measured=float(row["rate"]),
    )


def _micro(row: dict[str, Any]) -> Iterator[Measurement]:
    """Each line of a microbenchmark: its figures, named by everything that is none."""
    for line in row.get("rows") or []:
        figures = {k: v for k, v in line.items() if _unit(k) and isinstance(v, int | float) and not isinstance(v, bool)}
        words = " ".join(_word(k, v) for k, v in line.items() if k not in figures and k != "error")
        for key, value in figures.items():
            name = f"{row['case']} {words} {key}" if len(figures) > 1 else f"{row['case']} {words}"
            yield Measurement(name=name, unit=_unit(key), predicted=None, measured=float(value))


def _unit(key: str) -> str:
    """Of a field of a microbenchmark's row; empty for one that says what was measured."""
    if key in UNITS:
        return UNITS[key]
    if key.endswith("bytes_per_s"):
        return "B/s"
    if "seconds" in key:
        return "s"
    return "bytes" if key.endswith(("_bytes", "_peak")) else ""


def _word(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{key} {value}"


def _cap(row: dict[str, Any]) -> Iterator[Measurement]:
    """The smallest cap of the allocator under which a case still ran, beside what it reserved without one."""
    for key in ("smallest_cap", "peak_reserved"):
        if row.get("block") == "caps" and row.get(key) is not None:
            yield Measurement(
                name=f"memory.{key}", unit="bytes", predicted=None, measured=float(row[key]), note="bisected to 1 %"
            )


def peaks(row: dict[str, Any]) -> dict[str, int] | None:
    """What a trace of the same case on a fake card says; None where there is none (a microbenchmark, a failed case)."""
    if row.get("block") not in ("train", "infer") or row["outcome"] != "ok" or not row.get("capability"):
        return None
    import gpu_trace

    major, minor = row["capability"]
    traced = gpu_trace.phases(gpu_trace.trace_case(row["case"], (major, minor), row["sms"]))
    return {f"memory.{kind}": max(p[f"peak_{kind}"] for p in traced) for kind in ("allocated", "reserved")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="JSON lines; default collected.jsonl beside the folder")
    parser.add_argument("--date", help="ISO 8601, when it was measured; default: when the first file was written")
    parser.add_argument("--predict", action="store_true", help="trace each case here and put its peaks beside")
    chosen = parser.parse_args()
    files = sorted(chosen.folder.glob("results*.jsonl"))
    if not files:
        print(f"{chosen.folder} holds no results*.jsonl: run benchmarks/gpu_collect.py on a GPU", file=sys.stderr)
        return 2
    written = datetime.datetime.fromtimestamp(files[0].stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
    found, broken = rows(chosen.folder)
    lines = []
    for row in found:
        made = record(row, chosen.date or written, peaks(row) if chosen.predict else None)
        lines.append((f"{row.get('block', '')} {row['case']}".strip(), made))
    out = chosen.out or chosen.folder.parent / "collected.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    part.replace(out)
    from gpu_check import table

    print(table(lines))
    print(f"{len(lines)} Records in {out}" + (f"; {broken} lines were no whole row" if broken else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
