"""The catalogue of models: names, shapes against published counts, the published measurements' names."""

import csv
from pathlib import Path

import pytest

from onecard.catalog.models import model, model_names, models
from onecard.catalog.names import key
from onecard.core.errors import UnknownName
from onecard.core.model import FULL, LINEAR, SLIDING, Model
from onecard.parts.transformer import parameters

from .count import count, count_vision

MEASUREMENTS = Path(__file__).parents[2] / "benchmarks" / "measurements"
DECODERS = [m for m in models() if m.kind != "encoder-decoder"]


def test_there_are_enough_models():
    assert len(models()) >= 90


def test_every_name_belongs_to_one_model():
    owners: dict[str, str] = {}
    for each in models():
        for name in {key(n) for n in (each.name, each.hub_id or "", *each.aliases)}:
            assert owners.setdefault(name, each.name) == each.name, name


@pytest.mark.parametrize("each", models(), ids=lambda m: m.name)
def test_a_row_has_its_facts(each: Model):
    assert each.source and each.source.startswith("https://") and each.licence and each.hub_id and each.parameters
    assert each.name == each.name.lower() and " " not in each.name
    for width in (each.layers, each.hidden, each.heads, each.kv_heads, each.head_dim, each.ffn, each.vocab):
        assert width > 0
    assert each.heads % each.kv_heads == 0
    assert len(each.layer_kinds) in (0, each.layers)
    assert (each.window is not None) == (SLIDING in each.layer_kinds)
    assert (each.recurrent is not None) == (LINEAR in each.layer_kinds)


@pytest.mark.parametrize("each", DECODERS, ids=lambda m: m.name)
def test_shapes_count_to_the_published_parameters(each: Model):
    assert count(each) + count_vision(each) == each.parameters


# Counted by the formulas that everything else uses. Their tensors are those of a GGUF file, which leaves out a few that
# a config's model has: the router's and experts' biases of Phi-3.5-MoE and the norm behind BLOOM's embedding.
@pytest.mark.parametrize("each", [m for m in DECODERS if m.kind == "decoder"], ids=lambda m: m.name)
def test_the_packages_formulas_count_the_same(each: Model):
    assert parameters(each) == pytest.approx(count(each), rel=2e-4)


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("Llama 3.1 8B", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
        ("LLAMA_2_7B", "llama-2-7b"),
        ("gemma3:12b", "gemma-3-12b"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("microsoft/phi-1_5", "phi-1.5"),
        ("gpt2", "gpt2"),
    ],
)
def test_spellings(spelt: str, name: str):
    assert model(spelt).name == name


@pytest.mark.parametrize("wrong", ["llama", "llama-3.1", "qwen", "7b", "", "llama-3.1-8", "llama-3.1-8bb"])
def test_a_part_of_a_name_is_no_name(wrong: str):
    with pytest.raises(UnknownName):
        model(wrong)


def test_a_typo_gets_the_nearest_names():
    with pytest.raises(UnknownName) as raised:
        model("lama-3.1-8b")
    assert "llama-3.1-8b" in raised.value.nearest


@pytest.mark.parametrize("file", ["memory.csv", "speed.csv"])
def test_published_rows_find_their_model_and_its_size(file: str):
    rows = csv.DictReader((MEASUREMENTS / file).read_text(encoding="utf-8").splitlines())
    wanted = {(row["model"], row["params_b"]) for row in rows if row["task"].startswith("llm")}
    assert wanted
    for name, billions in wanted:
        assert model(name).parameters == pytest.approx(float(billions) * 1e9, rel=0.01), name


def test_literature():
    """Facts from the models' papers and cards."""
    llama = model("llama-2-70b")  # arXiv 2307.09288: 8 key-value heads from 34B on, context 4k
    assert (llama.kv_heads, llama.context, llama.head_dim) == (8, 4096, 128)
    gemma = model("gemma-3-12b")  # arXiv 2503.19786: five local layers of 1,024 tokens to one global
    assert gemma.window == 1024
    assert gemma.count_kind(FULL) == 8
    assert gemma.layer_kinds[:6] == (SLIDING,) * 5 + (FULL,)
    assert gemma.vision is not None
    assert (gemma.vision.tokens, gemma.vision.image) == (256, 896)
    lite = model(
        "deepseek-v2-lite"
    )  # arXiv 2405.04434 appendix B: 27 layers, 64 + 2 experts, 6 used, rank 512, no q rank
    assert lite.latent is not None
    assert lite.experts is not None
    assert (lite.latent.kv_rank, lite.latent.q_rank, lite.latent.rope_dim) == (512, None, 64)
    assert (lite.experts.count, lite.experts.used, lite.experts.shared, lite.experts.dense_layers) == (64, 6, 2, 1)
    next80 = model("qwen3-next-80b")  # model card: 48 layers, 12 x (3 delta nets, 1 attention), 512 experts, 10 used
    assert next80.count_kind(LINEAR) == 36
    assert next80.count_kind(FULL) == 12
    assert next80.experts is not None
    assert (next80.experts.count, next80.experts.used) == (512, 10)
    oss = model(
        "gpt-oss-20b"
    )  # model card, arXiv 2508.10925: 24 layers, 32 experts, 4 used, windows of 128 in every other
    assert (oss.count_kind(SLIDING), oss.window, oss.sinks) == (12, 128, True)
    mixtral = model("mixtral-8x7b")  # arXiv 2401.04088: 8 experts, 2 used, 12.9B active
    assert mixtral.experts is not None
    assert (mixtral.experts.count, mixtral.experts.used) == (8, 2)


def test_names_are_listed_in_order():
    assert list(model_names()) == [m.name for m in models()]
