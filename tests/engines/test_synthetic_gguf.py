"""A synthetic file has the planned tensors exactly, is whole or not there, and the cache forgets the oldest first."""

import os
import shutil

import pytest

from onecard.core.errors import NoRoom
from onecard.engines import gguf_writer, synthetic_gguf
from onecard.parts.mixes import gguf_types
from onecard.parts.transformer import tensors
from tests.engines.tiny_models import MODELS

gguf = pytest.importorskip("gguf", reason="the gguf library reads the file back")


def make(name, tmp_path, quant="q4_k_m", **more):
    model = MODELS[name]
    return synthetic_gguf.synthetic_gguf(model, gguf_types(model, quant), quant, tmp_path, **more)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_another_reader_finds_every_tensor_as_planned(name, tmp_path):
    reader = gguf.GGUFReader(make(name, tmp_path))
    types = gguf_types(MODELS[name], "q4_k_m")
    found = {t.name: (tuple(int(d) for d in t.shape), t.tensor_type.name) for t in reader.tensors}
    assert found == {t.name: (t.shape, types[t.name]) for t in tensors(MODELS[name])}
    assert str(bytes(reader.fields["general.architecture"].parts[-1]), "utf-8") == MODELS[name].family


def test_progress_ends_with_the_whole_size(tmp_path):
    seen = []
    make("llama", tmp_path, progress=lambda done, of: seen.append((done, of)))
    done = [d for d, _ in seen]
    assert done == sorted(done) and seen[-1][0] == seen[-1][1]


def test_a_file_is_reused_and_another_plan_has_another(tmp_path):
    first = make("llama", tmp_path)
    stamp = first.stat().st_ino
    assert make("llama", tmp_path).stat().st_ino == stamp
    assert make("llama", tmp_path, "q8_0") != first


def test_a_failed_write_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def fails(*_):
        yield 100
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_writer, "write", fails)
    with pytest.raises(NoRoom, match="cannot be written") as caught:
        make("llama", tmp_path)
    assert "No space left" in caught.value.why
    assert list((tmp_path / "gguf").iterdir()) == []


def test_no_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(NoRoom, match="no room for a synthetic model") as caught:
        make("llama", tmp_path)
    assert "free disk space" in caught.value.next and not list((tmp_path / "gguf").iterdir())


def test_the_cache_forgets_what_was_not_used_for_the_longest_time(tmp_path, monkeypatch):
    paths = [make("llama", tmp_path, quant) for quant in ("q4_0", "q8_0")]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    make("llama", tmp_path, "q4_0")  # used again: now q8_0 is the oldest
    sizes = sum(p.stat().st_size for p in paths)
    monkeypatch.setattr(synthetic_gguf, "LIMIT", sizes)
    new = make("qwen2", tmp_path, "q4_0")
    assert paths[0].exists() and new.exists() and not paths[1].exists()


def test_names_with_unusual_characters_become_file_names(tmp_path):
    import msgspec

    model = msgspec.structs.replace(MODELS["llama"], name="../Ünïcode/模型 7B:latest")
    path = synthetic_gguf.synthetic_gguf(model, gguf_types(model, "q4_0"), "q4_0", tmp_path)
    assert path.parent == tmp_path / "gguf" and path.exists()
