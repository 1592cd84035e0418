"""watch: what the devices do now, moment by moment, and the run that is under way beside its plan."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from onecard.core import places
from onecard.core.errors import BadFile, UnknownName
from onecard.core.reading import Moment


def watch(every: float = 1.0, *, count: int | None = None, run: str | None = None) -> Iterator[Moment]:
    """Moments, one each `every` seconds, until `count` or for ever.

    run: the id of a run to stand beside its plan (or the beginning of one); without it, the one that is under way.
    Raises UnknownName for a run that does not exist.
    """
    from onecard.machine.follow import Follower, latest
    from onecard.machine.now import Now

    journal = _journal(run) if run is not None else latest()
    follower = Follower(journal) if journal is not None else None
    taken = 0
    with Now() as now:
        # The share of busy time needs two looks; a short pause makes the very first moment a true one.
        time.sleep(min(0.2, every))
        while True:
            start = time.monotonic()
            if follower is None and run is None and taken % 5 == 4 and (fresh := latest()) is not None:
                follower = Follower(fresh)
            attached = follower.look() if follower is not None else None
            yield Moment(time=time.time(), readings=now.readings(), run=attached)
            taken += 1
            if count is not None and taken >= count:
                return
            time.sleep(max(0.0, every - (time.monotonic() - start)))


def replay(file: str | Path) -> Iterator[Moment]:
    """Moments of a recorded `watch --json` stream or of a run's journal. Raises BadFile where there are none."""
    from onecard.machine.follow import moments

    path = Path(file)
    if path.is_dir():
        path = path / "journal.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadFile(
            f"{path} cannot be read", why=error.strerror or str(error), next="onecard watch --json > trace.jsonl"
        ) from None
    found = False
    for line in lines:
        try:
            moment = msgspec.json.decode(line, type=Moment)
        except msgspec.MsgspecError:
            continue  # a journal's event, or a line cut off in the middle
        found = True
        yield moment
    if not found:
        for moment in moments(path):
            found = True
            yield moment
    if not found:
        raise BadFile(f"{path} holds no moments", why="neither lines of watch --json nor samples of a run",
                      next="onecard watch --json > trace.jsonl")  # fmt: skip


def _journal(run: str) -> Path:
    folders = {p.parent.name: p for p in places.runs().glob("*/journal.jsonl")}
    matches = [f for name, f in folders.items() if name == run] or [
        f for name, f in folders.items() if name.startswith(run)
    ]
    if len(matches) != 1:
        raise UnknownName("run", run, folders, next="onecard records lists them")
    return matches[0]
