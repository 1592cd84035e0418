"""llama.cpp itself loads what the synthetic writer writes, in every family, and uses the settings that it was given."""

import sys

import pytest

from onecard.core.errors import BadFile, BadSetting
from onecard.engines.llama_cpp import Options, load
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.parts.kv_cache import llama_kv_bytes
from onecard.parts.mixes import gguf_types
from tests.engines.tiny_models import MODELS

pytest.importorskip("xllamacpp", reason="needs the extra gguf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("llama")


def loaded(name, folder, quant="q4_k_m", **options):
    model = MODELS[name]
    path = synthetic_gguf(model, gguf_types(model, quant), quant, folder)
    return load(path, Options(**{"context": 512, "micro_batch": 64, **options}), folder / f"{name}.log")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_family_loads_and_generates(name, folder):
    timing = loaded(name, folder).generate(range(3, 40), 4)
    assert timing.prompt_tokens == 37 and timing.output_tokens == 4


@pytest.mark.parametrize("quant", ["q2_k", "q3_k_m", "q5_k_m", "q8_0", "iq4_xs", "iq2_xxs", "f16", "tq2_0"])
def test_formats_load(quant, folder):
    assert loaded("llama", folder, quant).generate([5, 6, 7], 2).output_tokens == 2


@pytest.mark.parametrize("name", ["llama", "gemma3", "mixtral"])
@pytest.mark.parametrize("kv", ["f16", "q8_0"])
def test_the_kv_buffer_is_the_planned_one(name, kv, folder):
    model = MODELS[name]
    llama = loaded(name, folder, kv_type=kv, context=1024)
    measured = sum(b.bytes for b in llama.buffers if b.kind == "kv")
    planned = sum(llama_kv_bytes(model, n, 1024, 1, 64, kv.upper(), kv.upper()) for n in range(model.layers))
    assert measured == pytest.approx(planned, abs=2 * 0.005 * 1024**2), "the log rounds to a hundredth of a MiB"


def test_context_and_batch_are_the_given_ones(folder):
    llama = loaded("llama", folder, context=768, micro_batch=128, sequences=2)
    assert llama.effective["n_ctx"] == 2 * 768 and llama.effective["n_ubatch"] == 128
    assert llama.effective["n_seq_max"] == 2


def test_conversations_side_by_side_have_a_slot_each_and_add_up(folder):
    from onecard.engines.chat_llama import side_by_side

    llama = loaded("llama", folder, sequences=3)
    prompt = list(range(3, 40))
    read = side_by_side(3, lambda slot: llama.generate(prompt, 1, slot=slot))
    assert read.prompt_tokens == 3 * 37
    written = side_by_side(3, lambda slot: llama.generate(prompt, 8, reuse=True, slot=slot))
    assert written.output_tokens == 24
    assert written.cached_tokens == 3 * 36, "every conversation still has its own prompt in its slot"


def test_a_longer_prompt_than_the_context_is_refused(folder):
    with pytest.raises(BadSetting, match="refused"):
        loaded("llama", folder, context=256).generate([5] * 400, 4)


def test_a_callback_stops_generation(folder):
    seen = []
    loaded("llama", folder).generate([5, 6, 7], 200, each=lambda text: bool(seen.append(text) or len(seen) == 3))
    assert 3 <= len(seen) < 20


def test_chat_streams_text_and_counts(folder):
    pieces = []
    timing = loaded("llama-bpe", folder).chat(
        [{"role": "user", "content": "Hello"}], 8, lambda t: bool(pieces.append(t))
    )
    assert timing.output_tokens <= 8 and "".join(pieces)


def test_the_server_answers_as_openai_does(folder):
    import json
    import urllib.request

    llama = loaded("llama-bpe", folder, alias="tiny")
    assert llama.address.startswith("http://127.0.0.1:")
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    request = urllib.request.Request(
        f"{llama.address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        reply = json.load(answer)
    assert reply["object"] == "chat.completion" and reply["usage"]["completion_tokens"] == 3


def test_a_truncated_file_is_named_with_the_reason(folder):
    whole = synthetic_gguf(MODELS["llama"], gguf_types(MODELS["llama"], "q4_0"), "q4_0", folder)
    short = folder / "short.gguf"
    short.write_bytes(whole.read_bytes()[:-100_000])
    with pytest.raises(BadFile, match=r"short\.gguf cannot be loaded") as caught:
        load(short, Options(context=256), folder / "short.log")
    assert "file bounds" in caught.value.why


def test_a_foreign_file_and_a_missing_one(folder):
    foreign = folder / "foreign.gguf"
    foreign.write_bytes(b"PK\x03\x04 this is a zip" * 100)
    with pytest.raises(BadFile):
        load(foreign, Options(context=256), folder / "foreign.log")
    with pytest.raises(BadFile, match="no file"):
        load(folder / "none.gguf", Options(context=256), folder / "none.log")


def test_an_unknown_cache_type_is_refused(folder):
    with pytest.raises(BadSetting, match="kv_type"):
        loaded("llama", folder, kv_type="q3_k")


def test_stderr_comes_back_after_loading(folder, capfd):
    loaded("llama", folder)
    print("still here", file=sys.stderr)
    assert "still here" in capfd.readouterr().err
