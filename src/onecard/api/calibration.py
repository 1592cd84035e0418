"""Corrections that outlive a run: Factors of each device, learned from its Records and kept as one small file.

The Records are the truth and the file is made again from them after every new one, so that `plan` reads a few hundred
bytes instead of a database. A file that cannot be read is as good as none: predictions are then uncorrected, never wrong.
"""

from pathlib import Path

import msgspec

from onecard.core.places import home
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
