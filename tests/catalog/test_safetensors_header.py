"""Headers of safetensors files, written by the safetensors library and by hand."""

import json
import struct
from pathlib import Path

import pytest

from onecard.catalog.lookup import find_model
from onecard.catalog.safetensors_header import count_parameters, read_safetensors
from onecard.core.errors import BadFile

from .test_config_json import LLAMA


def write(path: Path, header: dict, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = {"a.weight": entry("BF16", [3, 4], 0, 24), "a.bias": entry("F32", [3], 24, 36), "__metadata__": {"format": "pt"}}


def test_the_librarys_own_file(tmp_path: Path):
    numpy = pytest.importorskip("numpy")
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"w": numpy.zeros((5, 7), numpy.float16), "b": numpy.zeros(5, numpy.float32)}, tmp_path / "m.safetensors")
    found = read_safetensors(tmp_path)
    assert (found["w"].dtype, found["w"].shape, found["w"].bytes) == ("F16", (5, 7), 70)
    assert count_parameters(found) == 40


def test_every_prefix_is_refused(tmp_path: Path):
    whole = write(tmp_path / "m.safetensors", GOOD, bytes(36)).read_bytes()
    assert read_safetensors(tmp_path / "m.safetensors")["a.weight"].elements == 12
    short = tmp_path / "short.safetensors"
    for length in range(len(whole)):
        short.write_bytes(whole[:length])
        with pytest.raises(BadFile):
            read_safetensors(short)


@pytest.mark.parametrize(
    "bad",
    [
        {"a": entry("BF16", [3, 4], 0, 25)},
        {"a": entry("Q4", [3, 4], 0, 24)},
        {"a": entry("BF16", [3, -4], 0, 24)},
        {"a": entry("BF16", [3, 4], 24, 0)},
        {"a": {"dtype": "BF16"}},
        {"a": 3},
    ],
)
def test_damaged_entries(tmp_path: Path, bad: dict):
    with pytest.raises(BadFile):
        read_safetensors(write(tmp_path / "m.safetensors", bad, bytes(36)))


def test_an_index_names_missing_files(tmp_path: Path):
    write(tmp_path / "model-00001-of-00002.safetensors", GOOD, bytes(36))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps(
            {"weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        )
    )
    with pytest.raises(BadFile, match="00002-of-00002"):
        read_safetensors(tmp_path)
    write(tmp_path / "model-00002-of-00002.safetensors", {"b": entry("F16", [2], 0, 4)}, bytes(4))
    assert set(read_safetensors(tmp_path)) == {"a.weight", "a.bias", "b"}
    index.write_text("[]")
    with pytest.raises(BadFile):
        read_safetensors(tmp_path)


def test_packed_integers_are_not_counted(tmp_path: Path):
    packed = {"q.qweight": entry("I32", [4], 0, 16), "q.scales": entry("F16", [4], 16, 24)}
    assert count_parameters(read_safetensors(write(tmp_path / "m.safetensors", packed, bytes(24)))) is None


def test_a_folder_with_weights_knows_their_number(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert find_model(str(tmp_path)).parameters is None
    write(tmp_path / "m.safetensors", GOOD, bytes(36))
    assert find_model(str(tmp_path)).parameters == 15
