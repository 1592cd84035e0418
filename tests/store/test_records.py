"""Records come back as they went in, by id, device and workload."""

import pytest

from onecard.core.errors import BadFile, UnknownName
from onecard.core.record import SCHEMA, Measurement, Record
from onecard.store import records


def record(identity="abcd1234", workload="chat", device="NVIDIA GeForce RTX 4070 Ti", started="2026-01-01", **changes):
    values = {
        "id": identity,
        "kind": "prove",
        "plan": {"id": "p1", "workload": workload, "device": {"name": device, "kind": "cuda"}},
        "started": started,
        "seconds": 12.5,
        "outcome": "ok",
        "requested": {"context": 8192},
        "effective": {"context": 8192},
        "environment": {"python": "3.11"},
        "measurements": (Measurement(name="memory.peak", unit="bytes", predicted=(1, 2, 3), measured=2.5),),
        "samples": {"rss": [1.0, 2.0], "rss_t": [0.1, 0.2]},
    }
    return Record(**(values | changes))


def test_a_record_comes_back_as_it_went_in(tmp_path):
    path = tmp_path / "r.sqlite3"
    assert records.add(path, record())
    assert records.get(path, "abcd") == record()


def test_the_same_id_is_stored_once_and_never_replaced(tmp_path):
    path = tmp_path / "r.sqlite3"
    assert records.add(path, record()) and not records.add(path, record(outcome="failed"))
    assert records.get(path, "abcd1234").outcome == "ok"


def test_lists_are_newest_first_and_filtered_by_exact_names(tmp_path):
    path = tmp_path / "r.sqlite3"
    records.add(path, record("a1", started="2026-01-01"))
    records.add(path, record("b2", started="2026-01-03", workload="finetune"))
    records.add(path, record("c3", started="2026-01-02", device="NVIDIA GeForce RTX 4070 Ti SUPER"))
    assert [r.id for r in records.find(path)] == ["b2", "c3", "a1"]
    assert [r.id for r in records.find(path, workload="chat")] == ["c3", "a1"]
    assert [r.id for r in records.find(path, device="nvidia geforce rtx 4070 ti")] == ["b2", "a1"]
    assert [r.id for r in records.find(path, limit=1)] == ["b2"]


def test_no_file_yet_is_an_empty_list_and_makes_none(tmp_path):
    path = tmp_path / "r.sqlite3"
    assert records.find(path) == () and not path.exists()


def test_an_unknown_or_ambiguous_prefix_says_what_there_is(tmp_path):
    path = tmp_path / "r.sqlite3"
    records.add(path, record("abcd1111"))
    records.add(path, record("abcd2222"))
    with pytest.raises(UnknownName) as caught:
        records.get(path, "abcd")
    assert "abcd1111" in caught.value.next and "abcd2222" in caught.value.next
    with pytest.raises(UnknownName):
        records.get(path, "ffff")
    assert records.get(path, "abcd1111").id == "abcd1111"


def test_a_record_of_a_newer_schema_is_refused_by_name(tmp_path):
    path = tmp_path / "r.sqlite3"
    records.add(path, record("future01", schema=SCHEMA + 1))
    with pytest.raises(BadFile, match="future01"):
        records.find(path)
