"""A model by anything: what is tried, in which order, and what the refusals say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard import catalog
from onecard.catalog.lookup import find_model
from onecard.core.errors import BadFile, MissingExtra, OnecardError, Unavailable, UnknownName

from .test_config_json import LLAMA


def test_names_come_first_even_beside_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama-3.1-8b").mkdir()
    assert find_model(" Llama-3.1-8B ").parameters == 8030261248


def test_a_folder_a_file_and_a_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine é 模型").mkdir()
    (tmp_path / "mine é 模型" / "config.json").write_text(json.dumps(LLAMA))
    assert find_model(str(tmp_path / "mine é 模型")).name == "mine é 模型"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_model("~/mine é 模型/config.json").hidden == 64


@pytest.mark.parametrize("text", ["nonsense", "", " ", "a/b/c", "/", "x" * 5000, "a\0b", "..", "llama 9 8b"])
def test_what_is_nothing(text: str):
    with pytest.raises((UnknownName, BadFile)):
        find_model(text)


def test_a_file_that_is_not_there():
    with pytest.raises(BadFile, match="no file"):
        find_model("models/missing.gguf")


def test_a_folder_with_several_gguf_files_names_them(tmp_path: Path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadFile) as raised:
        find_model(str(tmp_path))
    assert "a.gguf" in raised.value.next


def test_a_hub_id_that_is_not_cached_and_no_network():
    pytest.importorskip("huggingface_hub")
    with pytest.raises(Unavailable) as raised:
        find_model("nobody/no-such-model")
    assert "cache" in str(raised.value)
    assert raised.value.next


def test_a_hub_id_from_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The layout of huggingface_hub's cache: models--owner--name/{refs/main, snapshots/<commit>/config.json}."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    folder = tmp_path / "models--someone--their-model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text(json.dumps(LLAMA))
    found = find_model("someone/their-model")
    assert (found.name, found.hub_id, found.hidden) == ("their-model", "someone/their-model", 64)


def test_without_the_extra_one_command_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("onecard.core.require.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as raised:
        find_model("nobody/no-such-model")
    assert "onecard[hub]" in raised.value.next


@given(st.text(max_size=60).filter(lambda t: "/" not in t))
def test_any_text_is_a_model_or_a_clear_error(text: str):
    try:
        assert find_model(text).layers > 0
    except OnecardError as error:
        assert str(error)


def test_the_package_exports_what_it_lists():
    for name in catalog.__all__:
        assert callable(getattr(catalog, name))
    with pytest.raises(AttributeError):
        _ = catalog.nothing
    assert catalog.model("gpt2") == catalog.find_model("gpt2")


def test_catalogue_names_need_no_library():
    code = "import sys; from onecard.catalog import find_model, card; find_model('llama-3.1-8b'); card('4070ti'); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    heavy = {"torch", "numpy", "gguf", "huggingface_hub", "safetensors", "transformers", "mmap"}
    assert not heavy & set(ran.stdout.split())


def test_without_a_network_the_answer_comes_at_once(monkeypatch: pytest.MonkeyPatch):
    """Online, but no address resolves: huggingface_hub itself would repeat its request for half a minute."""
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(
        hub, "hf_hub_download", lambda *a, **k: asked.append(k) or (_ for _ in ()).throw(OSError("not cached"))
    )
    with pytest.raises(Unavailable, match=r"hub\.invalid"):
        find_model("nobody/no-such-model")
    assert asked == [{"local_files_only": True}]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("GatedRepoError", "gated"),
        ("RepositoryNotFoundError", "has no model"),
        ("EntryNotFoundError", "no config.json"),
        ("HfHubHTTPError", "cannot be had"),
    ],
)
def test_what_the_hub_answers_becomes_one_error(monkeypatch: pytest.MonkeyPatch, error: str, says: str):
    hub = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")
    kind = getattr(errors, error)

    def download(*_: object, local_files_only: bool = False) -> str:
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not cached")
        raise kind.__new__(kind)

    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("onecard.catalog.hub._reach", lambda *_: None)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(Unavailable, match=says):
        find_model("nobody/no-such-model")
