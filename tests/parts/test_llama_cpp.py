"""Memory of llama.cpp: published logs, rules of placement, properties, and the program itself."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onecard.catalog import model
from onecard.core.model import FULL, SLIDING, Model
from onecard.engines.llama_log import buffers
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.parts.llama_cpp import cpu_parts, layout, llama_parts
from onecard.parts.llama_graph import Batch, compute_bytes
from onecard.parts.mixes import gguf_types

MiB = 2**20


def llama(
    layers=4, hidden=512, heads=8, kv_heads=4, ffn=1408, vocab=32000, head_dim=64, family="llama", **more
) -> Model:
    return Model(
        name="test", family=family, layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        ffn=ffn, vocab=vocab, **more,
    )  # fmt: skip


def part(parts, name, place="device", only=None):
    return sum(p.bytes.likely for p in parts if p.name == name and p.place == place and only in (None, p.only)) / MiB


# llama.cpp's own log lines, all layers on the device: model, context, flash attention, build, model buffer, KV, compute buffer.
# Sources: XiongjieDai/GPU-Benchmarks-on-LLM-Inference @aa72e0e; ggml-org/llama.cpp issues for the last ones.
LOGS = [
    ("llama-2-13b", "q4_0", 512, False, "b1691", 6936.01, 400.0, 75.0),
    ("llama-30b", "q4_0", 512, False, "b1691", 17390.64, 780.0, 97.0),
    ("llama-65b", "q4_0", 512, False, "b1685", 34950.11, 1280.0, 119.0),
    ("llama-2-70b", "q4_0", 512, False, "b1685", 36930.11, 160.0, 145.0),
    ("llama-3-8b", "q4_k_m", 8192, False, "b2824", 4403.49, 1024.0, 560.0),
    ("llama-3-8b", "q4_k_m", 8192, True, "b4000", 4403.49, 1024.0, 258.5),
    ("llama-2-7b", "q4_0", 4096, False, "b2824", 3577.55, 2048.0, 296.0),
]


@pytest.mark.parametrize(("name", "quant", "context", "flash", "build", "weights", "kv", "compute"), LOGS)
def test_buffers_are_those_of_the_logs(name, quant, context, flash, build, weights, kv, compute):
    parts = llama_parts(model(name), quant=quant, context=context, flash=flash, version=build)
    assert part(parts, "weights") == pytest.approx(weights, abs=0.02)
    assert part(parts, "kv_cache") == pytest.approx(kv, abs=0.01)
    assert part(parts, "workspace") == pytest.approx(compute, abs=0.02)


def test_matrices_left_on_the_host_pass_through_the_device():
    # "CUDA0 compute buffer size = 669.48 MiB" for Llama-3-8B Q4_K_M with 20 layers offloaded: logits and a Q6_K output matrix.
    parts = llama_parts(model("llama-3-8b"), quant="q4_k_m", context=8192, gpu_layers=20, version="b4000")
    assert part(parts, "workspace") == pytest.approx(669.48, abs=0.1)


@pytest.mark.parametrize(("name", "gib"), [("gemma-3-12b", 2.47), ("deepseek-v2-lite", 0.95), ("qwen3-next-80b", 0.75)])
def test_caches_at_32k_tokens(name, gib):
    parts = llama_parts(model(name), quant="q4_k_m", context=32768)
    assert part(parts, "kv_cache") / 1024 == pytest.approx(gib, abs=0.005)


def test_every_byte_of_the_weights_is_somewhere():
    shape = model("llama-3.1-8b")
    everything = layout(shape, "q4_k_m", 0, True).host
    for count in range(shape.layers + 2):
        place = layout(shape, "q4_k_m", count, True)
        assert place.device + place.host - place.twice == pytest.approx(everything, rel=1e-3)


def test_more_layers_on_the_device_never_need_less_of_it():
    for name in ("llama-3.1-8b", "gemma-3-4b", "qwen3-30b-a3b"):
        shape = model(name)
        held = [layout(shape, "q4_k_m", n, True).device for n in range(shape.layers + 2)]
        assert held == sorted(held)
        assert held[0] == 0


def test_the_output_goes_first_now_and_went_last_before():
    shape = model("llama-3.1-8b")
    assert layout(shape, "q4_k_m", 1, True).output_on_host == 0
    assert layout(shape, "q4_k_m", shape.layers, False).output_on_host > 400 * MiB


def test_a_tied_table_is_there_twice_on_a_card():
    shape = model("llama-3.2-1b")
    place = layout(shape, "q4_k_m", shape.layers + 1, True)
    assert place.twice == place.host > 0


def test_a_window_bounds_the_cache_of_its_layers():
    kinds = (SLIDING, SLIDING, SLIDING, FULL)
    wide, narrow = llama(family="gemma3"), llama(family="gemma3", window=1024, layer_kinds=kinds)
    full, windowed = (llama_parts(m, quant="q4_0", context=65536) for m in (wide, narrow))
    cell = part(full, "kv_cache") / 65536 / 4
    assert part(windowed, "kv_cache") == pytest.approx(cell * (65536 + 3 * (1024 + 512)), rel=1e-6)
    # llama.cpp knows no windows of llama files (Mistral v0.1): every layer keeps everything
    unknown = llama_parts(llama(window=1024, layer_kinds=kinds), quant="q4_0", context=65536)
    assert part(unknown, "kv_cache") == part(full, "kv_cache")
    old = llama_parts(narrow, quant="q4_0", context=65536, version="b5000")
    assert part(old, "kv_cache") == part(full, "kv_cache")


@settings(max_examples=60, deadline=None)
@given(
    heads=st.sampled_from([4, 8, 16]),
    group=st.sampled_from([1, 2, 4]),
    vocab=st.sampled_from([8000, 32000, 128256, 262144]),
    context=st.sampled_from([512, 4096, 20000]),
    batch=st.sampled_from([64, 512, 2048]),
)
def test_the_compute_buffer_by_heads_vocabulary_context_and_micro_batch(heads, group, vocab, context, batch):
    shape = llama(heads=heads, kv_heads=heads // group, vocab=vocab, hidden=64 * heads)
    tokens = min(batch, context)
    flash, scores = (compute_bytes(shape, Batch(tokens=tokens, context=context, flash=f)) for f in (True, False))
    cells = -(-context // 256) * 256
    # Without flash attention the scores of all heads and an fp32 mask exist at once; with it only an fp16 mask.
    assert scores >= tokens * cells * (heads * 4 + 4)
    assert flash >= tokens * cells * 2
    assert flash <= scores
    # All rows of logits cost vocabulary x rows x 4 bytes; one row next to nothing.
    all_rows = compute_bytes(shape, Batch(tokens=tokens, context=context, logits=tokens))
    assert all_rows >= vocab * tokens * 4
    assert compute_bytes(shape, Batch(tokens=tokens, context=context, logits=1)) <= all_rows
    # More of anything never needs less.
    for more in (Batch(tokens=tokens, context=2 * context), Batch(tokens=2 * tokens, context=max(context, 2 * tokens))):
        assert compute_bytes(shape, more) >= flash


def test_parts_of_a_card_and_of_a_cpu_are_told_apart():
    shape = llama()
    card = llama_parts(shape, quant="q4_0", context=4096)
    assert {p.only for p in card if p.name == "workspace"} == {"card"}
    assert {p.only for p in cpu_parts(shape, "q4_0", 4096, 1, 512, True, None)} == {"cpu"}


SHAPES = [
    llama(),
    llama(heads=8, kv_heads=2, head_dim=96, vocab=8000),
    llama(hidden=640, heads=8, kv_heads=8, head_dim=160, ffn=3200, vocab=8000),
    llama(layers=2, vocab=151936, tied=True),
]
RUNS = [(2048, 512, True), (4096, 512, False), (1024, 256, True), (4096, 1024, True)]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "run"), itertools.product(SHAPES, RUNS))
def test_llama_cpp_itself_prints_these_buffers(shape, run, tmp_path):
    pytest.importorskip("xllamacpp")
    context, batch, flash = run
    printed = printed_buffers(shape, tmp_path, context, batch, flash)
    parts = cpu_parts(shape, "q4_0", context, 1, batch, flash, None)
    assert part(parts, "workspace") == pytest.approx(printed["compute"], rel=0.01, abs=0.02)
    assert part(parts, "other") == pytest.approx(printed["repack"], rel=0.01, abs=0.02)
    whole = llama_parts(shape, quant="q4_0", context=context, micro_batch=batch, flash=flash, gpu_layers=0)
    assert part(whole, "kv_cache", "host") == pytest.approx(printed["kv"], abs=0.01)


LOAD = """
import os, sys
from pathlib import Path
from onecard.engines.llama_cpp import Options, load
path, log, context, batch, flash = sys.argv[1:]
load(Path(path), Options(context=int(context), micro_batch=int(batch), flash_attention=flash == "1", gpu_layers=0), Path(log))
os._exit(0)
"""


def printed_buffers(shape, folder, context, batch, flash):
    """MiB of each kind of buffer in the log of a llama.cpp process that loaded this model."""
    file = synthetic_gguf(shape, gguf_types(shape, "q4_0"), "q4_0", folder)
    log = folder / "log.txt"
    given = [str(file), str(log), str(context), str(batch), str(int(flash))]
    subprocess.run([sys.executable, "-c", LOAD, *given], timeout=120, check=True, capture_output=True)
    found = {"repack": 0.0}
    for buffer in buffers(log.read_text(errors="replace")):
        kind = "repack" if buffer.where.endswith("REPACK") else buffer.kind
        found[kind] = found.get(kind, 0.0) + buffer.bytes / MiB
    return found


def test_a_log_that_no_rule_was_read_from():
    # TriLM 3.9B, f16, all layers on an RTX 4080 (mozilla-ai/llamafile#552): shapes from its own lines
    shape = llama(layers=30, hidden=3072, heads=24, kv_heads=24, head_dim=128, ffn=9216, vocab=50688)
    parts = llama_parts(shape, quant="f16", context=512, flash=False, version="b3500")
    assert part(parts, "weights") == pytest.approx(7317.71, abs=0.01)
    assert part(parts, "kv_cache") == pytest.approx(180.0)
    assert part(parts, "workspace") == pytest.approx(105.0, abs=0.01)
    assert part(parts, "weights", "host") == pytest.approx(297.0)
    assert part(parts, "other", "host") == pytest.approx(0.19, abs=0.01)
