"""Rows of text out of a file: CSV, TSV, JSONL or Parquet, with the columns that a task needs.

A mistake in a file is told with the row where it stands and with the columns that there are; a row is never skipped in
silence.
"""

import csv
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from onecard.core.errors import BadFile, BadSetting
from onecard.core.require import require

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
LONGEST_CELL = 1 << 27
"""a text of some thousand tokens is longer than the 128 KiB that csv allows in some languages"""
UNKNOWN_ROWS = 10_000
"""rows that a plan assumes for a Parquet file, whose number of rows takes a library to read"""


def find(source: str) -> Path:
    """The file that is meant. Raises BadFile where it is not there, BadSetting for a kind that nobody reads."""
    path = Path(source).expanduser()
    if not path.is_file():
        raise BadFile(f"there is no file {path}", next=f"give --data a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        raise BadSetting(f"{path.name} is not a kind of table that can be read", next=f"use {', '.join(SUFFIXES)}")
    return path


def about(source: str) -> int:
    """How many rows the file has, at most: lines that end, without parsing them; for a plan, which must be instant."""
    path = find(source)
    state = path.stat()
    return _lines(path, state.st_size, state.st_mtime_ns)


def texts(source: str, column: str) -> list[str]:
    """What is to be read by a net that writes: a column of a table, the lines of a .txt, or every .txt of a folder.

    Raises BadFile: nothing there, empty, no such column.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        files = _documents(path)
        found = [_plain(file).strip() for file in files]
        empty = next((file for file, text in zip(files, found, strict=True) if not text), None)
        if empty is not None:
            raise BadFile(f"{empty.name} is empty", next="fill it in, or take it out of the folder")
        return found
    if path.suffix.lower() == ".txt" and path.is_file():
        found = [line.strip() for line in _plain(path).splitlines() if line.strip()]
        if not found:
            raise BadFile(f"{path} has no text", next="write one text in each line")
        return found
    return [row[0] for row in read(source, (column,))]


def about_texts(source: str) -> int:
    """How many texts a plan counts with; instant."""
    path = Path(source).expanduser()
    if path.is_dir():
        return len(_documents(path))
    if path.suffix.lower() == ".txt" and path.is_file():
        state = path.stat()
        return _lines(path, state.st_size, state.st_mtime_ns)
    return about(source)


def _documents(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise BadFile(f"{folder} holds no .txt file", next="give a folder of texts, or a table")
    return files


def _plain(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"{file.name} is not UTF-8 text", why=str(error), next="save it as UTF-8") from None


@lru_cache(maxsize=16)
def _lines(path: Path, size: int, changed: int) -> int:
    if path.suffix.lower() == ".parquet":
        return UNKNOWN_ROWS
    lines, last = 0, b"\n"
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            lines, last = lines + block.count(b"\n"), block[-1:]
    lines += last != b"\n"
    return max(1, lines - (path.suffix.lower() in (".csv", ".tsv")))


def read(source: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All rows of a file, these columns of them, as text. Raises BadFile: empty, a column missing, a torn line."""
    path = find(source)
    if path.stat().st_size == 0:
        raise BadFile(f"{path} is empty", why="it has 0 bytes", next=f"give a file with the columns {_names(columns)}")
    found: list[tuple[str, ...]] = []
    try:
        for number, row in _rows(path):
            missing = [c for c in columns if c not in row]
            if missing:
                raise BadFile(
                    f"{path.name} has no column {_names(missing)}" + (f" in row {number}" if found else ""),
                    why=f"its columns are {_names([str(c) for c in row if c is not None])}",
                    next="rename it there, or name the right columns in the settings (onecard run WORK --help)",
                )
            values = tuple(row[c] for c in columns)
            if any(v is None or not str(v).strip() for v in values):
                empty = next(c for c, v in zip(columns, values, strict=True) if v is None or not str(v).strip())
                raise BadFile(f"{path.name}: row {number} has nothing in {empty}", next="fill it in, or delete the row")
            found.append(tuple(str(v) for v in values))
    except UnicodeDecodeError as error:
        raise BadFile(f"{path.name} is not UTF-8 text", why=str(error), next="save it as UTF-8") from None
    except csv.Error as error:
        raise BadFile(f"{path.name} is not a table", why=str(error), next="save it as CSV with quoted texts") from None
    if not found:
        raise BadFile(f"{path} has no rows", why="there is only a header", next="give a file with at least 20 rows")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the row from 1, column -> value)"""
    kind = path.suffix.lower()
    if kind == ".parquet":
        table = require("pyarrow.parquet", "to read Parquet files", "llm").read_table(path)
        yield from enumerate(table.to_pylist(), start=1)
        return
    with path.open(encoding="utf-8-sig", newline="") as handle:
        if kind == ".jsonl":
            yield from _objects(path, handle)
            return
        csv.field_size_limit(LONGEST_CELL)
        yield from enumerate(csv.DictReader(handle, delimiter="\t" if kind == ".tsv" else ","), start=1)


def _objects(path: Path, lines: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadFile(f"{path.name}: line {number} is not JSON", why=str(error), next="correct that line") from None
        if not isinstance(row, dict):
            raise BadFile(
                f"{path.name}: line {number} is not an object", next='write {"text": "...", ...} in each line'
            )
        yield number, row


def _names(columns: Any) -> str:
    return ", ".join(f'"{c}"' for c in columns)
