"""The way to a plan is light: no heavy library is imported, whatever is installed."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "numpy",
    "pandas",
    "polars",
    "transformers",
    "gguf",
    "xllamacpp",
    "pydantic",
    "matplotlib",
    "huggingface_hub",
}

CALLS = {
    "help": ["--help"],
    "plan": ["plan", "chat", "--model", "llama-3-8b", "--quant", "q4_k_m", "--context", "8192", "--on", "RTX 4070 Ti"],
    "plan on this machine": ["plan", "chat", "--model", "llama-3.2-1b", "--json"],
    "can": ["can", "--on", "RTX 4070 Ti"],
}


def imported(arguments):
    code = "import sys; from onecard.cli import main\ntry:\n main(sys.argv[1:])\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return {m.partition(".")[0] for m in done.stdout.rpartition("MODULES ")[2].split()}


@pytest.mark.parametrize("call", CALLS)
def test_no_heavy_import(call):
    assert not imported(CALLS[call]) & HEAVY


def test_import_onecard_loads_nothing_of_its_rooms():
    code = "import sys, onecard; print(*[m for m in sys.modules if m.startswith('onecard.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_the_public_list_is_exact():
    import onecard
    from onecard import api

    assert sorted(onecard.__all__) == onecard.__all__
    for name in onecard.__all__:
        assert callable(getattr(onecard, name))
    for name in api.__all__:
        assert callable(getattr(api, name))
