"""Opens the file of Records, brings it up to date, and refuses what it must not touch.

A file that is no database, that is damaged, or that a newer onecard has written is never changed: the error names it
and says what to do. WAL lets a long run write while another process reads (sqlite.org/wal.html).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from onecard.core.errors import BadFile, Unavailable
from onecard.store.migrations import LATEST, MIGRATIONS


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the migrated file (made if it is not there). Raises BadFile or Unavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(
            f"{path} cannot be opened", why=str(error), next="set ONECARD_HOME to a folder of yours"
        ) from None
    with closing(connection):
        with _explained(path):
            _migrate(connection, path)
        with _explained(path):
            yield connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """sqlite's errors as ours; nothing has been overwritten when they are raised."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"{path} cannot be used now", why=str(error), next="free disk space or end what locks it, then try again"
        ) from None
    except sqlite3.DatabaseError as error:
        raise BadFile(
            f"{path} is damaged or no file of Records",
            why=str(error),
            next=f"nothing was changed; move it away (mv {path.name} {path.name}.bad) and onecard starts a new one",
        ) from None


def version(connection: sqlite3.Connection) -> int:
    """Number of the last migration that was applied; 0 for an empty file."""
    if not connection.execute("select 1 from sqlite_master where name = 'applied'").fetchone():
        return 0
    found: int | None = connection.execute("select max(number) from applied").fetchone()[0]
    return found or 0


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    present = version(connection)
    if present > LATEST:
        raise BadFile(
            f"{path} was written by a newer onecard",
            why=f"its schema is number {present}, this version knows {LATEST}",
            next="python -m pip install --upgrade onecard (nothing was changed)",
        )
    if present == LATEST:
        return
    foreign = connection.execute("select name from sqlite_master where type = 'table'").fetchone()
    if present == 0 and foreign:
        raise BadFile(
            f"{path} is a database of something else",
            why=f'it has a table "{foreign[0]}" and none of ours',
            next="set ONECARD_HOME to another folder; nothing was changed",
        )
    connection.execute("pragma journal_mode = wal")
    connection.execute("begin immediate")
    try:
        connection.execute("create table if not exists applied (number integer primary key, at text not null) strict")
        for number, statements in MIGRATIONS:
            if number > version(connection):
                for statement in _split(statements):
                    connection.execute(statement)
                connection.execute("insert into applied values (?, datetime('now'))", (number,))
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _split(script: str) -> Iterator[str]:
    """Single statements (executescript would commit the transaction that must hold all of them)."""
    rest = ""
    for piece in script.split(";"):
        rest += piece + ";"
        if sqlite3.complete_statement(rest):
            if rest.strip(" \n;"):
                yield rest
            rest = ""
