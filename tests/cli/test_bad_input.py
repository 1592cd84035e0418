"""Every mistake that a person can make at the command line: what happened, why, what next; exit code 2; no traceback."""

import json
import sqlite3
import subprocess
import sys

import pytest

CHAT = ["plan", "chat", "--on", "RTX 4070 Ti"]


def onecard(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "onecard", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def refused(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} not in {done.stderr!r}"
    return done


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*CHAT, "--model", "lama-3-8b"], ["lama-3-8b", "llama-3-8b"]),
        ([*CHAT, "--model", "llama-3-8b", "--quant", "q4_k_n"], ["q4_k_n", "q4_k_m"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", "RTX 4070 Tie"], ["RTX 4070 Tie", "RTX 4070 Ti"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", "RTX 4060 Ti"], ["8GB", "16GB"]),
        ([*CHAT, "--model", "llama-3-8b", "--context", "0"], ["context"]),
        ([*CHAT, "--model", "llama-3-8b", "--context", "-5"], ["context"]),
        ([*CHAT, "--model", "llama-3-8b", "--context", "many"], ["context", "many"]),
        ([*CHAT, "--model", "llama-3-8b", "--engine", "lama.cpp"], ["engine"]),
        ([*CHAT, "--model", "llama-3-8b", "--budget", "99GiB"], ["99.00 GiB", "larger"]),
        ([*CHAT, "--model", "llama-3-8b", "--budget", "9 elephants"], ["elephants"]),
        ([*CHAT, "--model", "llama-3-8b", "--budget", "0"], ["0 B"]),
        ([*CHAT], ["model"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", "memory=12GiB"], ["bandwidth"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", "memory=12,bandwidth=504GB/s"], ["12", "no unit", "12GiB"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", "memory=12g,bandwidth=504"], ["504"]),
        (["plan", "chat", "--model", "llama-3-8b", "--on", ""], ['unknown card ""']),
        ([*CHAT, "--model", "llama-3-8b", "--budget", "12"], ["12GiB"]),
        ([*CHAT, "--model", "llama-3-8b", "--engine", "llamacpp"], ["llama.cpp", "transformers"]),
        ([*CHAT, "--model", "llama-3-8b", "--n-gpu-layers", "-3"], ["at least -1"]),
        ([*CHAT, "--model", "llama-3-8b", "--batch", "0"], ["at least 1"]),
        (["prove", "chat", "--model", "llama-3.2-1b", "--engine", "vllm"], ["vllm", "llama.cpp"]),
        (["prove", "chat", "--model", "llama-3.2-1b", "--context", "256"], ["640", "256"]),
        (["run", "chat", "--model", "llama-3.2-1b", "--prompt", "hello"], ["--weights"]),
        (["plan", "chta", "--model", "x"], ["chta", "chat"]),
        (["paln", "chat"], ["paln", "plan"]),
        (["compare", "RTX 4090"], ["two cards"]),
        (["records", "show", "zzzz"], ["zzzz"]),
        ([*CHAT, "--model", "no/such/file.gguf"], ["no/such/file.gguf"]),
        ([*CHAT, "--model", "someone/some-model-nobody-has"], ["someone/some-model-nobody-has"]),
    ],
    ids=lambda v: (
        " ".join(v[-2:]) if isinstance(v, list) and v and v[0] in ("plan", "paln", "compare", "records") else ""
    ),
)
def test_bad_arguments(arguments, words):
    refused(onecard(*arguments), *words)


def test_what_cannot_run_leaves_no_record(home):
    refused(onecard("prove", "chat", "--model", "llama-3.2-1b", "--engine", "vllm"))
    assert not (home / "runs").exists() and not (home / "records.sqlite3").exists()


def test_control_characters_of_a_name_are_shown_and_not_obeyed():
    done = refused(onecard("plan", "chat", "--model", "a\x1b[31m\nb", "--on", "RTX 4090"))
    assert "\x1b[31m" not in done.stderr and "\\x1b[31m\\nb" in done.stderr


def test_an_unknown_flag_is_named():
    done = onecard(*CHAT, "--modle", "llama-3-8b")
    assert done.returncode == 2 and "--modle" in done.stderr and "Traceback" not in done.stderr


def test_a_truncated_gguf_and_a_foreign_file(tmp_path):
    foreign = tmp_path / "picture.gguf"
    foreign.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused(onecard(*CHAT, "--model", str(foreign)), "picture.gguf")
    short = tmp_path / "short.gguf"
    short.write_bytes(b"GGUF\x03\x00\x00\x00\x10")
    refused(onecard(*CHAT, "--model", str(short)), "short.gguf")


def test_config_files_that_are_not_what_they_should_be(tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{not json")
    refused(onecard(*CHAT, "--model", str(config)), "config.json", "JSON")
    config.write_text(json.dumps({"model_type": "llama", "hidden_size": 4096}))
    done = refused(onecard(*CHAT, "--model", str(config)), "num_hidden_layers")
    assert "num_attention_heads" in done.stderr, "all missing fields are named at once"


def test_a_store_that_is_not_one_is_refused_and_left_as_it_is(home):
    path = home / "records.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    refused(onecard("records"), "records.sqlite3")
    assert path.read_bytes() == b"this is not a database" * 100


def test_a_store_from_a_newer_version_is_refused_and_left_as_it_is(home):
    from onecard.core.record import Record
    from onecard.store import records as store

    path = home / "records.sqlite3"
    record = Record(
        id="abc", kind="prove", plan={}, started="2026-01-01T00:00:00+00:00", seconds=1.0, outcome="ok",
        requested={}, effective={}, environment={},
    )  # fmt: skip
    store.add(path, record)
    connection = sqlite3.connect(path)
    connection.execute("insert into applied values (9999, datetime('now'))")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    refused(onecard("records"), "newer")
    assert path.read_bytes() == before


def test_a_no_is_an_answer_with_exit_code_one():
    done = onecard(*CHAT, "--model", "llama-3-70b", "--quant", "q8_0", "--n-gpu-layers", "81", "--json")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "no"
    assert (
        "quant q8_0" in answer["advice"]["smallest_change"] or "n_gpu_layers 81" in answer["advice"]["smallest_change"]
    )
    assert answer["advice"]["largest_that_fits"] and answer["advice"]["cards"]


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f'"{sys.executable}" -m onecard plan chat --model llama-3-8b --on "RTX 4070 Ti" --json | head -1',
        shell=True, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and done.stdout.startswith("{")


@pytest.mark.parametrize("arguments", [["trace", "script.py"], ["run", "pretrain"]])
def test_without_torch_there_is_one_command_that_installs_it(arguments, tmp_path):
    (tmp_path / "script.py").write_text("print()")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # A finder in front of all others that knows nothing of torch: what a machine without it looks like.
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n.partition('.')[0] == 'torch' else real(n, p)\n"
    )
    import os

    environment = {**os.environ, "PYTHONPATH": f"{hidden}{os.pathsep}{os.environ['PYTHONPATH']}"}
    done = refused(onecard(*arguments, cwd=tmp_path, env=environment), "torch is not installed", "onecard[llm]")
    assert done.stdout == ""
