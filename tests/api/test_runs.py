"""From a question to a Record: proofs and chats of tiny models in real child processes."""

import json
import os
import signal
import threading

import pytest

from onecard import api
from onecard.api.runs import prove, resume, run
from onecard.core import places
from onecard.core.errors import BadFile, BadSetting, DoesNotFit, MissingExtra, UnknownName
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.parts.mixes import gguf_types
from onecard.store.journal import read
from tests.engines.tiny_models import MODELS

pytest.importorskip("xllamacpp", reason="needs the extra gguf")

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 34_000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SMALL = {"context": 256, "prompt_tokens": 32, "output_tokens": 8, "quant": "q4_k_m"}


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "tiny llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder / "config.json")


@pytest.fixture
def gguf(tmp_path):
    model = MODELS["llama-bpe"]
    return str(synthetic_gguf(model, gguf_types(model, "q4_k_m"), "q4_k_m", tmp_path))


def measured(record):
    return {m.name: m for m in record.measurements}


@pytest.mark.slow
def test_prove_measures_what_was_predicted_and_keeps_both(config):
    record = prove("chat", model=config, **SMALL)
    found = measured(record)
    assert record.outcome == "ok", record.error
    assert found["memory.kv_cache"].measured == found["memory.kv_cache"].predicted[1]
    assert found["memory.peak"].measured > found["memory.kv_cache"].measured
    for rate in ("prefill_tokens_per_s", "decode_tokens_per_s"):
        assert found[rate].predicted is not None and found[rate].measured > 0
    assert record.effective["n_ctx"] == 256 and record.requested["context"] == 256
    assert api.record(record.id[:6]) == record
    assert record.samples.keys() >= {"rss", "rss_t", "token_seconds"}


@pytest.mark.slow
def test_the_plan_is_in_the_journal_before_anything_was_measured(config):
    record = prove("chat", model=config, **SMALL)
    first = read(places.runs() / record.id / "journal.jsonl")[0]
    assert first["event"] == "begin" and first["plan"] == record.plan


@pytest.mark.slow
def test_prove_on_transformers(config):
    pytest.importorskip("transformers", reason="needs the extra llm")
    record = prove("chat", model=config, engine="transformers", **(SMALL | {"quant": "bf16"}))
    found = measured(record)
    assert record.outcome == "ok", record.error
    assert found["memory.weights"].error == pytest.approx(0, abs=0.002)
    assert found["decode_tokens_per_s"].measured > 0


@pytest.mark.slow
def test_a_budget_that_is_too_small_ends_out_of_memory_and_is_a_record(config):
    record = prove("chat", model=config, budget="2MiB", force=True, **SMALL)
    assert record.outcome == "oom" and "budget of 2 MiB" in record.error
    assert record.environment["budget"]["how"] == "watcher"


@pytest.mark.slow
def test_what_is_predicted_not_to_fit_is_not_started_without_force(config):
    with pytest.raises(DoesNotFit, match="predicted not to fit"):
        prove("chat", model=config, budget="2MiB", **SMALL)
    assert api.records() == ()


def test_a_budget_larger_than_the_device_is_refused(config):
    with pytest.raises(BadSetting, match="larger than"):
        prove("chat", model=config, budget="900TiB", **SMALL)


def test_one_answer_from_a_real_file(gguf):
    pieces = []
    record = run(
        "chat",
        model=gguf,
        context=512,
        options={"prompt": "Hello", "tokens": 12},
        on_event=lambda e: pieces.append(e["text"]) if e["event"] == "text" else None,
    )
    assert record.outcome == "ok", record.error
    assert "".join(pieces) and 1 <= record.quality["tokens"] <= 12


def test_a_conversation_goes_on_until_its_end_is_said(gguf):
    said = iter(["Hello", "And then?"])

    def talk(event):
        if event["event"] == "turn":
            text = next(said, None)
            return {"end": True} if text is None else {"say": text}
        return None

    record = run("chat", model=gguf, context=512, options={"tokens": 4}, on_event=talk)
    assert record.outcome == "ok", record.error
    assert record.quality["answers"] == 2


def test_a_server_answers_until_ctrl_c_and_the_record_says_stopped(gguf):
    import urllib.request

    answers = []
    stop = threading.Event()

    def visit(event):
        if event["event"] == "serving":
            with urllib.request.urlopen(event["address"] + "/v1/models", timeout=10) as answer:
                answers.append(json.load(answer))
            stop.set()

    record = run("chat", model=gguf, context=512, options={"serve": True}, on_event=visit, stop=stop)
    assert answers[0]["object"] == "list" and record.outcome == "stopped"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_the_middle_of_an_answer(gguf):
    pressed = []

    def interrupt(event):
        if event["event"] == "text" and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    record = run("chat", model=gguf, context=2048, options={"prompt": "Hello"}, on_event=interrupt)
    assert record.outcome == "stopped" and record.quality["tokens"] < 2000


def test_a_truncated_file_is_refused_with_its_reason(gguf, tmp_path):
    from pathlib import Path

    short = tmp_path / "short.gguf"
    short.write_bytes(Path(gguf).read_bytes()[:-50_000])
    with pytest.raises(BadFile, match=r"short\.gguf"):
        record = run("chat", model=str(short), context=512, options={"prompt": "Hello"})
        # a header that is whole passes the plan; then the run itself says it
        assert record.outcome == "failed"
        raise BadFile(record.error)


def test_a_missing_file_is_refused_before_anything_starts():
    with pytest.raises((BadFile, UnknownName)):
        run("chat", model="nowhere/none.gguf", context=512, options={"prompt": "Hello"})
    assert not places.runs().exists()


@pytest.mark.slow
def test_a_run_that_was_killed_with_onecard_is_found_again(config):
    record = prove("chat", model=config, **SMALL)
    folder = places.runs() / "0123456789"
    folder.mkdir()
    lines = (places.runs() / record.id / "journal.jsonl").read_text().splitlines()
    begin = json.loads(lines[0]) | {"id": "0123456789", "pid": 2**22 + 1, "started": "2026-01-01T00:00:00+00:00"}
    kept = [line for line in lines[1:] if '"event":"end"' not in line and '"event":"result"' not in line]
    (folder / "journal.jsonl").write_text("\n".join([json.dumps(begin), *kept, '{"event":"phase_']))
    found = api.records()
    assert {r.id for r in found} == {record.id, "0123456789"}
    assert api.record("01234").outcome == "failed"


def test_resume_of_an_unknown_run_says_which_there_are():
    with pytest.raises(UnknownName, match="unknown run"):
        resume("zzz")


@pytest.mark.slow
def test_a_store_of_a_newer_version_stops_before_the_run(config):
    import sqlite3

    api.records()
    prove("chat", model=config, **SMALL)
    connection = sqlite3.connect(places.records_file())
    connection.execute("insert into applied values (999, 'later')")
    connection.commit()
    connection.close()
    count = len(list(places.runs().iterdir()))
    with pytest.raises(BadFile, match="newer onecard"):
        prove("chat", model=config, **SMALL)
    assert len(list(places.runs().iterdir())) == count


def test_a_missing_library_is_named_with_its_install_command(config, monkeypatch):
    monkeypatch.setattr("onecard.api.runs.has", lambda module: False)
    with pytest.raises(MissingExtra, match="xllamacpp") as caught:
        prove("chat", model=config, **SMALL)
    assert "onecard[gguf]" in caught.value.next
