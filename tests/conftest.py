"""Every test has a home of its own: no test reads or writes the user's records, caches or runs."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ONECARD_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Child processes import this very source, installed or not.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "src"))
    for name in ("COLUMNS", "ONECARD_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["ONECARD_HOME"]
    return folder
