"""Examples for fine-tuning a language model: from a file, a hub data set, or the documentation that is on every machine.

Whatever the columns are called, one form comes out: a prompt (messages that are given) and a completion (the message
that is learnt). A plain text has an empty prompt. The bundled set is real question and answer text without a download: the topics of
the Python language reference and the docstrings of the standard library.
"""

import csv
import inspect
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, Unavailable
from onecard.core.require import require
from onecard.engines import rows

COLUMNS = (
    ("messages",),
    ("conversations",),
    ("prompt", "completion"),
    ("instruction", "output"),
    ("question", "answer"),
    ("text",),
)
"""columns that are understood, each with what TRL, Alpaca or ShareGPT call it"""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """Messages are (role, content)."""

    prompt: tuple[tuple[str, str], ...]
    completion: str


def examples(source: str, seed: int = 0) -> list[Example]:
    """All examples of a data set, shuffled by the seed. Empty source: the bundled set. Raises BadFile or Unavailable."""
    if not source:
        found = list(documentation())
    else:
        found = [e for number, row in enumerate(_rows(source), 1) if (e := _example(row, source, number)) is not None]
    if len(found) < 4:
        raise BadFile(
            f"{source} has {len(found)} examples with something to learn",
            why="at least 4 are needed: some are kept for validation",
            next="give --data a file with more rows",
        )
    random.Random(seed).shuffle(found)
    return found


BUNDLED = 900
"""examples that a plan counts for the bundled set; the number differs a little between versions of Python"""


def about(source: str) -> int:
    """How many examples a plan counts with; instant, so nothing is parsed and no hub is asked."""
    if not source:
        return BUNDLED
    path = Path(source).expanduser()
    return rows.about(source) if path.suffix.lower() in rows.SUFFIXES else rows.UNKNOWN_ROWS


def _rows(source: str) -> list[dict[str, Any]]:
    path = Path(source).expanduser()
    if not path.is_file():
        if path.suffix or source.count("/") != 1:
            raise BadFile(
                f"there is no file {source}", next="give --data a JSONL, CSV or Parquet file, or owner/name of the hub"
            )
        return _from_hub(source)
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8").splitlines()
            return [_json(line, source, n) for n, line in enumerate(lines, 1) if line.strip()]
        if path.suffix == ".json":
            return list(json.loads(path.read_text(encoding="utf-8")))
        if path.suffix in (".csv", ".tsv"):
            csv.field_size_limit(rows.LONGEST_CELL)
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        if path.suffix == ".parquet":
            table = require("pyarrow.parquet", "to read Parquet files", "llm").read_table(path)
            found: list[dict[str, Any]] = table.to_pylist()
            return found
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise BadFile(f"{source} cannot be read", why=str(error), next="save it again as UTF-8 JSONL or CSV") from None
    raise BadFile(f"{source} has an unknown ending", next="give a .jsonl, .json, .csv, .tsv or .parquet file")


def _json(line: str, source: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadFile(f"line {number} of {source} is not JSON", why=str(error), next="correct that line") from None
    if not isinstance(row, dict):
        raise BadFile(
            f"line {number} of {source} is no object", next='write each example as {"prompt": ..., "completion": ...}'
        )
    return row


def _from_hub(name: str) -> list[dict[str, Any]]:
    datasets = require("datasets", "to load a data set from the hub", "llm")
    try:
        return list(datasets.load_dataset(name, split="train"))
    except Exception as error:
        # No network, no such name and a gated set fail in many ways; the person can do one of two things about all of them.
        raise Unavailable(
            f"the data set {name} could not be loaded from the hub",
            why=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
            next="check the name and the network, or give --data a file",
        ) from None


def _example(row: dict[str, Any], source: str, number: int) -> Example | None:
    """One row; None where there is nothing to learn in it."""
    names = next((c for c in COLUMNS if all(name in row for name in c)), None)
    if names is None:
        raise BadFile(
            f"row {number} of {source} has the columns {', '.join(map(str, row))}",
            why="known are " + "; ".join(" + ".join(c) for c in COLUMNS),
            next="rename the columns",
        )
    if names[0] in ("messages", "conversations"):
        return _of_messages(row[names[0]], source, number)
    if names[0] == "text":
        text = str(row["text"] or "").strip()
        return Example(prompt=(), completion=text) if text else None
    asked, answered = (row[name] for name in names)
    if isinstance(asked, list):
        return _of_messages([*asked, *(answered if isinstance(answered, list) else [])], source, number)
    asked, answered = str(asked or "").strip(), str(answered or "").strip()
    if extra := str(row.get("input") or "").strip():
        asked = f"{asked}\n\n{extra}"
    return Example(prompt=(("user", asked),), completion=answered) if asked and answered else None


_ROLES = {"human": "user", "gpt": "assistant"}


def _of_messages(messages: Any, source: str, number: int) -> Example | None:
    try:
        pairs = [
            (m.get("role") or _ROLES.get(m["from"], m["from"]), m.get("content") or m.get("value") or "")
            for m in messages
        ]
    except (AttributeError, KeyError, TypeError):
        raise BadFile(
            f"row {number} of {source} has messages of an unknown form",
            next='write them as [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]',
        ) from None
    while pairs and pairs[-1][0] != "assistant":
        pairs.pop()
    if not pairs or not str(pairs[-1][1]).strip():
        return None
    return Example(prompt=tuple((r, str(c)) for r, c in pairs[:-1]), completion=str(pairs[-1][1]))


_MODULES = (
    *(
        "bisect",
        "collections",
        "functools",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "os",
        "os.path",
        "pathlib",
    ),
    *("random", "re", "shutil", "statistics", "string", "textwrap", "time", "urllib.parse"),
)


def documentation() -> Iterator[Example]:
    """About a thousand questions with the documentation's own answers, the same for one version of Python."""
    import importlib
    from pydoc_data.topics import topics

    for name in sorted(topics):
        if answer := _first(topics[name]):
            yield Example(prompt=(("user", f"What does the Python reference say about {name}?"),), completion=answer)
    kinds = (str, bytes, int, float, list, dict, set, tuple, frozenset)
    places = [(kind.__name__, kind) for kind in kinds] + [(m, importlib.import_module(m)) for m in _MODULES]
    for called, place in places:
        for name, member in sorted(vars(place).items()):
            if name.startswith("_") or not callable(member) or not _home(called, member):
                continue
            if answer := _first(inspect.getdoc(member) or ""):
                yield Example(prompt=(("user", f"What does {called}.{name} do in Python?"),), completion=answer)


def _home(called: str, member: Any) -> bool:
    """Whether a member was written for this module, not imported into it (posix and posixpath are os)."""
    home = (getattr(member, "__module__", None) or called).lstrip("_").partition(".")[0]
    return home in (called.partition(".")[0], "builtins", "posix", "posixpath", "genericpath", "nt", "ntpath")


def _first(text: str) -> str:
    """The first paragraphs of a documentation text, at most 600 characters, without its heading."""
    paragraphs = [" ".join(p.split()) for p in text.split("\n\n")]
    paragraphs = [p for p in paragraphs if p and not set(p) <= set("*=-~^ ") and not p.endswith(("***", "===", "---"))]
    kept = ""
    for paragraph in paragraphs:
        if kept and len(kept) + len(paragraph) > 600:
            break
        kept = f"{kept}\n\n{paragraph}" if kept else paragraph[:600]
    return kept if len(kept) >= 40 else ""


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """How long the examples are in tokens, before anything is cut."""

    count: int
    median: int
    longest: int
    truncated: int
    """examples longer than the limit, of which the end is never seen"""
    tokens_lost: float
    """share of all tokens that is cut off"""
    buckets: dict[str, int]
    """"<= 64", "<= 128" ... -> examples"""


def lengths(tokens: list[int], limit: int) -> Lengths:
    """Histogram in powers of two and what a limit cuts off. tokens: the length of each example."""
    buckets: dict[str, int] = {}
    for length in sorted(tokens):
        top = max(16, 1 << (max(length, 1) - 1).bit_length())
        buckets[f"<= {top}"] = buckets.get(f"<= {top}", 0) + 1
    ordered = sorted(tokens)
    return Lengths(
        count=len(tokens),
        median=ordered[len(ordered) // 2],
        longest=ordered[-1],
        truncated=sum(length > limit for length in tokens),
        tokens_lost=sum(max(0, length - limit) for length in tokens) / max(1, sum(tokens)),
        buckets=buckets,
    )
