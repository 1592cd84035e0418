"""A folder with config.json, weights and tokenizer stands for a model's name, for every family and with no network."""

import csv
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from onecard import api
from onecard.core.errors import BadFile
from onecard.engines import text_model
from onecard.engines.negation import sentences
from onecard.engines.parallel import pairs
from onecard.engines.reports import reports
from onecard.parts.text_nets import PAIRS, TextNet, read_config
from onecard.workloads import get

ROWS = {
    "translate": (("source", "target"), pairs(40, 3)),
    "summarise": (("text", "summary"), reports(40, 3)),
    "classify-text": (("text", "label"), sentences(40, 3)),
}
QUICK = [("translate", "marian"), ("classify-text", "bert")]
SLOW = [("translate", "t5"), ("translate", "bart"), ("summarise", "t5"), ("summarise", "bart")]
SLOW += [("classify-text", "distilbert"), ("classify-text", "gpt2")]
CASES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


def write_model(folder, family, texts, classes=0):
    """A net of 0.05 M parameters with random weights, as transformers saves it."""
    layers = {"encoder": int(family != "gpt2"), "decoder": int(family in (*PAIRS, "gpt2"))}
    net = TextNet(
        family=family,
        vocab=400,
        positions=0 if family == "t5" else 64,
        width=32,
        heads=2,
        head_dim=16,
        ffn=64,
        **layers,
    )
    torch.manual_seed(0)
    built = text_model.build_net(net, classes=classes, dropout=0.0, checkpointing=False)
    built.save_pretrained(folder)
    text_model.learn_tokenizer(texts, net.vocab, classify=bool(classes)).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_folder_is_planned_trained_and_exported(run_workload, tmp_path, name, family):
    columns, rows = ROWS[name]
    folder = write_model(tmp_path / "model", family, [r[0] for r in rows], 2 if name == "classify-text" else 0)
    file = tmp_path / "data.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([columns, *rows])
    settings = {"model": str(folder), "data": str(file), "length": 32, "steps": 2, "batch": 4}
    settings |= {} if name == "classify-text" else {"target_length": 8}
    plan = api.plan(name, on="RTX 4070 Ti", **settings)
    assert plan.verdict == "fits"
    assert get(name).needs(get(name).settings(**settings))[-1].module != "sentencepiece"
    ran = run_workload(name, settings | {"micro_batch": 4, "checkpointing": False})
    assert ran.ending.outcome == "ok", ran.ending.error
    assert (ran.folder / "export" / "config.json").is_file()
    again = read_config((ran.folder / "export" / "config.json").read_bytes(), "config.json")
    assert again.parameters(2) == read_config((folder / "config.json").read_bytes(), "config.json").parameters(2)


@pytest.mark.parametrize(("name", "family"), [("translate", "marian"), ("summarise", "t5")])
@pytest.mark.slow
def test_without_pairs_a_trained_model_writes_from_the_file_and_learns_nothing(run_workload, tmp_path, name, family):
    rows = ROWS[name][1]
    folder = write_model(tmp_path / "model", family, [r[0] for r in rows])
    file = tmp_path / "asked.txt"
    file.write_text("\n".join(r[0] for r in rows[:5]), encoding="utf-8")
    settings = {"model": str(folder), name: str(file), "length": 64, "target_length": 8, "beams": 2}
    plan = api.plan(name, on="RTX 4070 Ti", **settings)
    assert set(plan.estimate.time) == {"write"}
    ran = run_workload(name, settings | {"micro_batch": 2, "checkpointing": False})
    assert ran.ending.outcome == "ok", ran.ending.error
    assert ran.ending.quality["steps"] == 0
    assert ran.ending.quality["answered_rows"] == 5
    assert not (ran.folder / "checkpoints").exists()
    answers = ran.ending.quality["answers"]
    lines = [json.loads(line) for line in (ran.folder / answers).read_text(encoding="utf-8").splitlines()]
    assert [line["source"] for line in lines] == [r[0] for r in rows[:5]]


def test_a_model_of_another_kind_is_refused_by_name(tmp_path):
    folder = write_model(tmp_path / "model", "gpt2", ["a text"], 2)
    with pytest.raises(BadFile, match="gpt2"):
        api.plan("summarise", model=str(folder))


@pytest.mark.slow
def test_no_steps_judge_a_model_and_change_nothing(run_workload, tmp_path):
    columns, pairs_of = ROWS["translate"]
    folder = write_model(tmp_path / "model", "bart", [r[0] for r in pairs_of])
    file = tmp_path / "pairs.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([columns, *pairs_of])
    settings = {"model": str(folder), "data": str(file), "steps": 0, "length": 32, "target_length": 8}
    ran = run_workload("translate", settings | {"micro_batch": 4, "checkpointing": False})
    assert ran.ending.outcome == "ok", ran.ending.error
    assert {"bleu", "copy_bleu", "validation_loss"} <= set(ran.ending.quality)
    assert ran.ending.quality["steps"] == 0
    assert not (ran.folder / "checkpoints").exists()
    assert not (ran.folder / "export").exists()
