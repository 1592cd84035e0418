"""Adds Records and finds them again."""

import sqlite3
from pathlib import Path

import msgspec

from onecard.core.errors import BadFile, UnknownName
from onecard.core.record import SCHEMA, Record
from onecard.store.database import opened


def add(path: Path, record: Record) -> bool:
    """Append a Record; False if one with its id is there already (it is left as it is)."""
    plan = record.plan
    with opened(path) as connection:
        try:
            connection.execute(
                "insert into records values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.kind,
                    str(plan.get("workload", "")),
                    str(plan.get("device", {}).get("name", "")),
                    str(plan.get("id", "")),
                    record.outcome,
                    record.started,
                    record.seconds,
                    record.schema,
                    msgspec.json.encode(record).decode(),
                ),
            )
        except sqlite3.IntegrityError:
            return False
    return True


def find(
    path: Path,
    *,
    workload: str | None = None,
    device: str | None = None,
    kind: str | None = None,
    outcome: str | None = None,
    limit: int | None = None,
) -> tuple[Record, ...]:
    """Records, newest first; none where there is no file yet. Names are exact, case ignored."""
    if not path.exists():
        return ()
    wanted = {"workload": workload, "device": device, "kind": kind, "outcome": outcome}
    given = {name: value for name, value in wanted.items() if value is not None}
    where = " and ".join(f"{name} = ? collate nocase" for name in given) or "true"
    with opened(path) as connection:
        rows = connection.execute(
            f"select json from records where {where} order by started desc, rowid desc limit ?",
            (*given.values(), -1 if limit is None else limit),
        ).fetchall()
    return tuple(_decode(row[0], path) for row in rows)


def get(path: Path, prefix: str) -> Record:
    """The one Record whose id begins with `prefix`. Raises UnknownName for none or several."""
    if not path.exists():
        raise UnknownName("record", prefix, (), next="there are no Records yet; onecard prove chat makes one")
    with opened(path) as connection:
        ids = [row[0] for row in connection.execute("select id from records order by started desc")]
        hits = [i for i in ids if i.startswith(prefix.lower())] if prefix else []
        if len(hits) > 1 and prefix not in hits:
            raise UnknownName("record", prefix, (), next=f"several begin like this: {', '.join(hits[:6])}")
        if not hits:
            raise UnknownName("record", prefix, ids, next="onecard records lists them")
        chosen = prefix if prefix in hits else hits[0]
        row = connection.execute("select json from records where id = ?", (chosen,)).fetchone()
    return _decode(row[0], path)


def ids(path: Path) -> set[str]:
    """Of all Records."""
    if not path.exists():
        return set()
    with opened(path) as connection:
        return {row[0] for row in connection.execute("select id from records")}


def check(path: Path) -> None:
    """Raise now, before a run, what storing its Record would raise after it."""
    with opened(path):
        pass


def _decode(text: str, path: Path) -> Record:
    try:
        record = msgspec.json.decode(text, type=Record)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadFile(
            f"a Record in {path} cannot be read", why=str(error), next="python -m pip install --upgrade onecard"
        ) from None
    if record.schema > SCHEMA:
        raise BadFile(
            f"Record {record.id} in {path} was written by a newer onecard",
            why=f"its schema is {record.schema}, this version knows {SCHEMA}",
            next="python -m pip install --upgrade onecard",
        )
    return record
