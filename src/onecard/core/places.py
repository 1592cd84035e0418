"""Where onecard keeps its files. The only reader of its environment variables.

ONECARD_HOME moves everything below one folder; otherwise the platform's own data and cache folders are used.
"""

import os
from pathlib import Path


def home() -> Path:
    """Records, runs, Factors: what must not be lost."""
    override = os.environ.get("ONECARD_HOME")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_data_dir("onecard", appauthor=False))


def cache() -> Path:
    """Synthetic models, traces, measured bandwidth: what can be made again."""
    override = os.environ.get("ONECARD_HOME")
    if override:
        return Path(override) / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("onecard", appauthor=False))


def records_file() -> Path:
    """The SQLite file of all Records."""
    return home() / "records.sqlite3"


def runs() -> Path:
    """One folder a run: journal, checkpoints, samples."""
    return home() / "runs"
