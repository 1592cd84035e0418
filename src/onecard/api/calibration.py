"""Corrections that outlive a run: Factors of each device, learned from its Records and kept as one small file.

The Records are the truth and the file is made again from them after every new one, so that `plan` reads a few hundred
bytes instead of a database. A file that cannot be read is as good as none: predictions are then uncorrected, never wrong.
"""

from pathlib import Path

import msgspec

from onecard.core.places import home, records_file
from onecard.predict.factors import Factors


def _file() -> Path:
    return home() / "factors.json"


def factors_of(device: str) -> Factors | None:
    """What Records taught about a device, or None."""
    try:
        known = msgspec.json.decode(_file().read_bytes(), type=dict[str, Factors])
    except (OSError, msgspec.DecodeError):
        return None
    return known.get(device)


def learn() -> dict[str, Factors]:
    """Factors of every device in the store, written for the next `plan`; atomically, so that no reader sees a half."""
    from onecard.predict.calibrate import calibrate
    from onecard.store.records import find

    records = find(records_file())
    names = {str(r.plan.get("device", {}).get("name", "")) for r in records} - {""}
    known = {name: calibrate(records, name) for name in names}
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(msgspec.json.encode(known))
    temporary.replace(path)
    return known
