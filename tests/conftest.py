"""Every test has a home of its own: no test reads or writes the user's records, caches or runs."""

import os

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ONECARD_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("COLUMNS", "ONECARD_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["ONECARD_HOME"]
    return folder
