"""compare two sets of Records: files that `onecard records --json` wrote, or the store before and after a moment."""

from pathlib import Path

import msgspec

from onecard.core.change import Change, Difference
from onecard.core.errors import BadFile, BadSetting
from onecard.core.places import records_file
from onecard.core.record import Record


def compare_records(before: str, after: str | None = None) -> tuple[Change, ...]:
    """Two files, or one date ("2026-11-01"): Records of this machine's store before it against those from then on."""
    from onecard.predict.changes import changes

    return changes(*_sides(before, after))


def record_differences(before: str, after: str | None = None) -> tuple[Difference, ...]:
    """What else is not the same on both sides: the device, the driver, the system, versions of libraries."""
    from onecard.predict.changes import differences

    return differences(*_sides(before, after))


def _sides(before: str, after: str | None) -> tuple[list[Record], list[Record]]:
    from onecard.store.records import find

    if after is None:
        if not before[:4].isdigit() or "-" not in before:
            raise BadSetting(f'"{before}" is neither two files nor a date', next="write the date like 2026-11-01")
        records = find(records_file())
        return [r for r in records if r.started < before], [r for r in records if r.started >= before]
    return _read(before), _read(after)


def _read(path: str) -> list[Record]:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=list[Record])
    except OSError as error:
        raise BadFile(
            f"{path} cannot be read", why=str(error), next="onecard records --json > FILE writes one"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFile(
            f"{path} holds no Records", why=str(error), next="onecard records --json > FILE writes one"
        ) from None
