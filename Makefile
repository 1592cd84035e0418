# make demo     what can a card do, and a proof on this machine (light core and the gguf extra)
# make check    format, lint, types, quick tests: what CI runs first
# make test     the whole suite
# make accuracy predictions against published measurements
# make bench    startup, cost of measuring, traces against recordings, proofs on this machine
# make gpu      prove a matrix of plans on a CUDA machine (resumes)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# As many tests at once as there are cores, each with one thread for arithmetic: more threads than cores are many times slower.
# Tests are compiled once for all processes.
TEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo check test accuracy profiles bench gpu docs clean

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[gguf]'
	$(BIN)/python -m compileall -q src
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[gguf,llm,vision,bench,dev]'
	$(BIN)/python -m compileall -q src
	touch $@

demo: $(VENV)/.core
	$(BIN)/onecard can --on "RTX 4070 Ti"
	$(BIN)/onecard prove chat --model llama-3.2-1b --quant q4_k_m --context 2048 --prompt-tokens 256 --output-tokens 48

check: $(VENV)/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST) -m "not slow and not gpu"

test: $(VENV)/.all
	$(TEST)

accuracy: $(VENV)/.all
	$(BIN)/python benchmarks/published.py

profiles: $(VENV)/.all
	$(BIN)/python benchmarks/make_profiles.py

bench: $(VENV)/.all
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/sampler_cost.py
	$(BIN)/python benchmarks/trace_accuracy.py
	$(BIN)/python benchmarks/this_machine.py

gpu: $(VENV)/.all
	$(BIN)/python benchmarks/gpu_check.py

docs: $(VENV)/.all
	$(BIN)/python benchmarks/reference.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
