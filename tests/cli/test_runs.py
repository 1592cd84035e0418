"""prove, run, resume and records as a person types them: exit codes, JSON, and never a traceback for a mistake."""

import json
import os
import signal
import subprocess
import sys

import pytest

from onecard.cli import main
from onecard.core import places
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.parts.mixes import gguf_types
from onecard.store import records as store
from tests.engines.tiny_models import MODELS

pytest.importorskip("xllamacpp", reason="needs the extra gguf")

SMALL = ["--context", "256", "--prompt-tokens", "32", "--output-tokens", "8"]


@pytest.fixture
def gguf(tmp_path):
    model = MODELS["llama-bpe"]
    return str(synthetic_gguf(model, gguf_types(model, "q4_k_m"), "q4_k_m", tmp_path))


@pytest.fixture
def onecard(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return left.value.code, out, err

    return call


@pytest.mark.slow
def test_prove_prints_predicted_against_measured_and_records_list_it(onecard, gguf):
    code, out, _ = onecard("prove", "chat", "--model", gguf, *SMALL)
    assert code == 0
    for word in ("predicted", "measured", "error", "peak", "KV cache", "decode", "is that normal?"):
        assert word in out
    identity = store.find(places.records_file())[0].id
    code, out, _ = onecard("records")
    assert code == 0 and identity in out
    code, out, _ = onecard("records", "show", identity[:5])
    assert code == 0 and identity in out and "against the plan's range" in out


@pytest.mark.slow
def test_json_is_json_alone(onecard, gguf):
    code, out, _ = onecard("prove", "chat", "--model", gguf, *SMALL, "--json")
    record = json.loads(out)
    assert code == 0 and record["outcome"] == "ok" and record["plan"]["workload"] == "chat"
    code, out, _ = onecard("records", "--json")
    assert [r["id"] for r in json.loads(out)] == [record["id"]]


@pytest.mark.slow
def test_a_budget_that_is_too_small_leaves_with_one(onecard, gguf):
    code, _, err = onecard("prove", "chat", "--model", gguf, *SMALL, "--budget", "2MiB")
    assert code == 1 and "predicted not to fit" in err and "next:" in err
    code, out, _ = onecard("prove", "chat", "--model", gguf, *SMALL, "--budget", "2MiB", "--force")
    assert code == 1 and "oom" in out


def test_a_mistake_found_before_the_child_leaves_with_two_and_no_record(onecard, gguf):
    code, out, err = onecard("prove", "chat", "--model", gguf, "--context", "64")
    assert code == 2 and "need a context of 640" in err and "next: give --context 640" in err
    assert not out and not places.records_file().exists()


def test_a_mistake_found_in_the_child_leaves_with_two_and_a_record(onecard, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    weights = ["--weights", str(tmp_path / "broken.gguf")]
    code, out, _ = onecard("run", "chat", "--model", "llama-3.2-1b", "--context", "256", "--prompt", "Hi", *weights)
    assert code == 2 and "failed" in out and "broken.gguf" in out and "predicted" not in out
    assert store.find(places.records_file())[0].outcome == "failed"


def test_one_answer_goes_to_standard_output_alone(onecard, gguf):
    code, out, err = onecard("run", "chat", "--model", gguf, "--context", "256", "--prompt", "Hi", "--tokens", "12")
    assert code == 0 and out.strip() and "normal" not in out
    assert "tok/s" in err and "record" in err and "is that normal?" in err


def test_a_name_without_weights_says_how_to_give_them(onecard):
    code, _, err = onecard("run", "chat", "--model", "llama-3.2-1b", "--context", "256", "--prompt", "Hi")
    assert code == 2 and "--weights" in err


def test_no_records_yet_and_unknown_ones(onecard):
    code, out, _ = onecard("records")
    assert code == 0 and "no records yet" in out
    code, _, err = onecard("records", "show", "abc")
    assert code == 2 and "unknown record" in err
    code, _, err = onecard("resume", "abc")
    assert code == 2 and "unknown run" in err


def test_a_damaged_store_is_named_and_left_alone(onecard):
    path = places.records_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a database" * 100)
    code, _, err = onecard("records")
    assert code == 2 and "damaged" in err and path.read_bytes() == b"not a database" * 100


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_a_server_ends_it_and_the_record_says_stopped(gguf):
    arguments = ["run", "chat", "--model", gguf, "--context", "256", "--serve"]
    process = subprocess.Popen(
        [sys.executable, "-m", "onecard", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONUNBUFFERED": "1"},
    )
    assert "serving" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err
    assert [r.outcome for r in store.find(places.records_file())] == ["stopped"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_our_own_server_is_measured_and_held_against_the_plan_of_its_model(onecard, gguf, tmp_path):
    """A real server, a real client: each level is a Record, and the same file's plan stands beside it."""
    pytest.importorskip("httpx", reason="needs the extra bench")
    arguments = ["run", "chat", "--model", gguf, "--context", "512", "--serve", "--port", "18137"]
    process = subprocess.Popen(
        [sys.executable, "-m", "onecard", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert "serving" in process.stdout.readline()
        few = [
            "--concurrency",
            "1,2",
            "--prompt-tokens",
            "24",
            "--output-tokens",
            "12",
            "--requests",
            "2",
            "--like",
            gguf,
        ]
        code, out, _ = onecard("bench", "--endpoint", "http://127.0.0.1:18137", *few, "--json")
    finally:
        process.terminate()  # its child leaves when its standard input ends
        process.communicate(timeout=60)
    answer = json.loads(out)
    assert code == 0 and [level["errors"] for level in answer["levels"]] == [0, 0]
    for level in answer["levels"]:
        assert level["first_token"][1] > 0 and level["between_tokens"][1] > 0 and level["output_tokens_per_s"] > 0
        assert level["counted_prompt"] > 0 and len(level["samples"]) == level["requests"]
    assert {p["name"] for p in answer["promises"]} == {"prefill_tokens_per_s", "decode_tokens_per_s"}
    kept = store.find(places.records_file(), workload="endpoint")
    assert sorted(r.plan["settings"]["concurrency"] for r in kept) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--endpoint", "http://127.0.0.1:9"], "no OpenAI-compatible server answers"),
        (["--endpoint", "nonsense"], "no address"),
        (["--endpoint", "http://127.0.0.1:9", "--concurrency", "0"], "positive numbers"),
        (["--endpoint", "http://127.0.0.1:9", "--timeout", "soon"], "duration"),
    ],
)
def test_a_server_that_cannot_be_measured_is_one_clear_error(onecard, arguments, word):
    code, _, err = onecard("bench", *arguments)
    assert code == 2 and word in err
