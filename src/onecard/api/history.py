"""Records: what was predicted, what was measured, and how it ended. Every door reads them here."""

from onecard.core import places
from onecard.core.record import Record


def records(
    *, workload: str | None = None, device: str | None = None, outcome: str | None = None, limit: int | None = None
) -> tuple[Record, ...]:
    """Records, newest first. Runs whose process was killed are taken in from their journals first."""
    from onecard.store import records as store

    take_in_orphans()
    return store.find(places.records_file(), workload=workload, device=device, outcome=outcome, limit=limit)


def record(prefix: str) -> Record:
    """The one Record whose id begins like this. Raises UnknownName."""
    from onecard.store import records as store

    take_in_orphans()
    return store.get(places.records_file(), prefix)


def take_in_orphans() -> tuple[Record, ...]:
    """Make Records of runs that were killed together with onecard: their journals hold what was told until then."""
    from onecard.store import records as store
    from onecard.store.journal import orphans, record_of

    runs = places.runs()
    if not runs.is_dir():
        return ()
    known = store.ids(places.records_file())
    found = tuple(record_of(path) for path in orphans(runs, known))
    for one in found:
        store.add(places.records_file(), one)
    return found
