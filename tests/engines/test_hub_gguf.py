"""Of a repository's files the one with the planned quantisation is taken, by whole words."""

import pytest

from onecard.core.errors import BadFile, OnecardError
from onecard.engines.hub_gguf import chosen, gguf_from_hub, is_hub_id

FILES = [
    "README.md",
    "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
    "Llama-3.2-1B-Instruct-Q4_K_L.gguf",
    "Llama-3.2-1B-Instruct-f16.gguf",
    "Llama-3.2-1B-Instruct-bf16.gguf",
    "mmproj-Q4_K_M.gguf",
    "Q8_0/Llama-Q8_0-00002-of-00002.gguf",
    "Q8_0/Llama-Q8_0-00001-of-00002.gguf",
]


def test_whole_words_decide():
    assert chosen(FILES, "q4_k_m", "o/n") == ["Llama-3.2-1B-Instruct-Q4_K_M.gguf"]
    assert chosen(FILES, "f16", "o/n") == ["Llama-3.2-1B-Instruct-f16.gguf"]


def test_a_model_in_pieces_comes_whole_and_in_order():
    assert chosen(FILES, "q8_0", "o/n") == [
        "Q8_0/Llama-Q8_0-00001-of-00002.gguf",
        "Q8_0/Llama-Q8_0-00002-of-00002.gguf",
    ]


def test_a_missing_format_says_what_there_is():
    with pytest.raises(BadFile, match="has no q2_k file") as caught:
        chosen(FILES, "q2_k", "o/n")
    assert "Llama-3.2-1B-Instruct-Q4_K_M.gguf" in caught.value.why


def test_hub_ids_and_paths_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").write_text("")
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("bartowski/Llama-3.2-1B-Instruct-GGUF")
    assert not is_hub_id("models/mine") and not is_hub_id("/a/b.gguf") and not is_hub_id("model.gguf")


@pytest.mark.slow
def test_without_a_network_there_is_one_clear_error():
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    with pytest.raises(OnecardError, match="cannot be fetched"):
        gguf_from_hub("nobody-at-all/nothing-GGUF", "q4_k_m")
