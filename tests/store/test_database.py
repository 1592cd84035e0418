"""The file of Records is refused rather than harmed: damaged, foreign or newer ones stay byte for byte as they were."""

import sqlite3

import pytest

from onecard.core.errors import BadFile
from onecard.store.database import opened, version
from onecard.store.migrations import LATEST, MIGRATIONS


def test_migrations_are_numbered_without_gaps_and_applied_once(tmp_path):
    path = tmp_path / "records.sqlite3"
    for _ in range(2):
        with opened(path) as connection:
            assert version(connection) == LATEST
            applied = connection.execute("select number from applied order by number").fetchall()
    assert [n for (n,) in applied] == [n for n, _ in MIGRATIONS] == list(range(1, LATEST + 1))


def test_a_newer_file_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "records.sqlite3"
    with opened(path) as connection:
        connection.execute("insert into applied values (?, 'later')", (LATEST + 1,))
        connection.execute("pragma wal_checkpoint(truncate)")
    before = path.read_bytes()
    with pytest.raises(BadFile, match="newer onecard") as caught, opened(path):
        pass
    assert "upgrade" in caught.value.next and path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a diary. " * 100, b"SQLite format 3\0" + b"\x99" * 5000]
)
def test_a_damaged_file_is_named_and_unchanged(tmp_path, content):
    path = tmp_path / "records.sqlite3"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"records\.sqlite3 is damaged") as caught, opened(path):
        pass
    assert "mv records.sqlite3" in caught.value.next and path.read_bytes() == content


def test_a_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "records.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("create table bookmarks (url text)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BadFile, match="something else"), opened(path):
        pass
    assert path.read_bytes() == before


def test_records_can_be_neither_changed_nor_deleted(tmp_path):
    with opened(tmp_path / "records.sqlite3") as connection:
        connection.execute("insert into records values ('a', 'run', 'chat', 'CPU', 'p', 'ok', 'now', 1, 1, '{}')")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("update records set outcome = 'failed'")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("delete from records")
        assert connection.execute("select outcome from records").fetchall() == [("ok",)]
