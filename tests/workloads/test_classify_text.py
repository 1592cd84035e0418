import csv
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from onecard.core.errors import BadFile, BadSetting, UnknownName
from onecard.core.settings import make
from onecard.engines.course import losses
from onecard.engines.negation import sentences
from onecard.execute.guard import climb
from onecard.execute.journal import Journal
from onecard.workloads import classify_text
from onecard.workloads.classify_text import Settings
from tests.workloads.text_runs import same, too_small

SMALL = {"steps": 10, "batch": 8, "micro_batch": 8, "checkpointing": False, "length": 24, "export": False}


@pytest.fixture
def table(tmp_path):
    """table(rows, name="t.csv", header=("text", "label")) -> path of a CSV"""

    def write(rows, name="t.csv", header=("text", "label")):
        file = tmp_path / name
        with file.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([header, *rows])
        return str(file)

    return write


@pytest.fixture
def small(table):
    """Settings of a quick run on 100 sentences from a file."""
    return SMALL | {"data": table(sentences(100, 3))}


@pytest.mark.slow
def test_negation_is_learnt_where_a_bag_of_words_is_at_chance(run_workload):
    """0.17 M parameters, 10 s on one core."""
    ran = run_workload("classify-text", {"micro_batch": 32, "checkpointing": False})
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    assert quality["accuracy"] >= 0.95
    assert quality["accuracy_low"] <= quality["accuracy"] <= quality["accuracy_high"] <= 1
    assert 0.42 <= quality["bag_of_words_accuracy"] <= 0.58
    assert 0.42 <= quality["majority_accuracy"] <= 0.58
    found = losses(ran.folder)
    assert found[len(found)] < 0.1 < found[1]
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    words = AutoTokenizer.from_pretrained(quality["export"])
    net = AutoModelForSequenceClassification.from_pretrained(quality["export"])
    said = net(**words("the plot was not dull and the story was great", return_tensors="pt")).logits.argmax()
    assert net.config.id2label[int(said)] == "positive"


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_to_the_bit(run_workload, small):
    whole = run_workload("classify-text", small, folder="whole")
    assert whole.ending.outcome == "ok", whole.ending.error

    def killed(event):
        if event["event"] == "validation" and event["step"] == 6:
            raise KeyboardInterrupt

    first = run_workload("classify-text", small, folder="killed", on_event=killed)
    assert first.ending.outcome == "stopped"
    second = run_workload("classify-text", small, folder="killed")
    assert second.of("effective")[0]["settings"]["resumed_at"] == 4
    assert same(whole.folder, second.folder)
    assert losses(whole.folder) == losses(second.folder)
    assert whole.ending.quality["validation_loss"] == second.ending.quality["validation_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "since"), [("train", 5), ("evaluate", 4), ("save", 4)])
def test_out_of_memory_anywhere_ends_at_the_same_step(run_workload, small, monkeypatch, tmp_path, phase, since):
    too_small(monkeypatch, phase, 2, since)
    rungs = classify_text.ladder(make(Settings, small))
    folder = tmp_path / "runs" / "a"
    with Journal(folder) as journal:
        result = climb(lambda s, w: run_workload("classify-text", s).ending, small, rungs, journal, folder)
    assert result.ending.outcome == "ok", result.ending.error
    assert [r.changed for r in result.taken] == [{"micro_batch": 4}, {"micro_batch": 2}]
    assert result.ending.quality["steps"] == 10
    assert sorted(losses(folder)) == list(range(1, 11))


@pytest.mark.slow
def test_a_smaller_micro_batch_is_the_same_run_without_dropout(run_workload, small):
    runs = [run_workload("classify-text", small | {"dropout": 0.0, "micro_batch": m}, folder=str(m)) for m in (8, 2)]
    one, two = (losses(r.folder) for r in runs)
    assert all(one[i] == pytest.approx(two[i], rel=1e-4) for i in one)


@pytest.mark.slow
def test_outliers_are_told_before_the_first_step(run_workload, table):
    rows = sentences(40, 1)
    rows[7] = (" ".join(["good"] * 4000), "positive")
    ran = run_workload("classify-text", SMALL | {"data": table(rows), "steps": 1, "held_out": 0.05})
    assert ran.ending.outcome == "ok", ran.ending.error
    order = [e["event"] for e in ran.events]
    assert order.index("lengths") < order.index("progress")
    found = ran.of("lengths")[0]
    assert found["longest"] > 4000
    assert found["cut_rows"] == 1
    assert len(found["outliers"]) == 1
    assert 0.8 < found["lost_tokens_share"] < 1


@pytest.mark.slow
def test_errors_file_holds_exactly_what_was_wrong(run_workload, small):
    ran = run_workload("classify-text", small)
    quality = ran.ending.quality
    wrong = list(csv.DictReader(Path(quality["errors_file"]).read_text(encoding="utf-8").splitlines()))
    assert len(wrong) == round((1 - quality["accuracy"]) * quality["held_out_rows"])
    assert all(w["label"] != w["predicted"] for w in wrong)
    assert [float(w["confidence"]) for w in wrong] == sorted((float(w["confidence"]) for w in wrong), reverse=True)
    assert sum(sum(row.values()) for row in quality["confusion"].values()) == quality["held_out_rows"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "changes", "words"),
    [
        ("", {}, "empty"),
        ("text,label\n", {}, "no rows"),
        ("review,stars\na,b\n", {}, '"review", "stars"'),
        ("text,label\na b,yes\nc d,no\ne f,maybe\n", {"labels": "yes,no"}, 'row 3 has the label "maybe"'),
        ("text,label\na b,yes\nc d,yes\n", {}, "one label only"),
        ("text,label\na b,yes\nc d,\n", {}, "row 2 has nothing in"),
    ],
)
def test_bad_files_are_told_with_the_place(run_workload, tmp_path, content, changes, words):
    file = tmp_path / "bad.csv"
    file.write_text(content)
    ran = run_workload("classify-text", SMALL | {"data": str(file)} | changes)
    assert ran.ending.outcome == "failed"
    assert words in f"{ran.ending.what} {ran.ending.why}"
    assert ran.ending.next
    assert not ran.of("progress")


@pytest.mark.slow
def test_damaged_checkpoints_stop_the_run_and_stay(run_workload, small):
    ran = run_workload("classify-text", small | {"steps": 2})
    for payload in (ran.folder / "checkpoints").glob("*.pt"):
        payload.write_bytes(b"torn")
    again = run_workload("classify-text", small | {"steps": 2})
    assert again.ending.outcome == "failed"
    assert "can be read" in again.ending.what
    assert list((ran.folder / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_no_disk_is_said_before_the_first_step(run_workload, small, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
    ran = run_workload("classify-text", small)
    assert ran.ending.outcome == "failed"
    assert "disk are needed" in ran.ending.what
    assert not ran.of("progress")


@pytest.mark.slow
def test_prove_takes_the_same_steps_with_synthetic_rows(run_workload):
    ran = run_workload("classify-text", SMALL, mode="prove")
    assert ran.ending.outcome == "ok", ran.ending.error
    assert {"step_seconds", "train_rows_per_s"} <= {m["name"] for m in ran.of("measured")}


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(BadSetting, match="512 positions"):
        classify_text.cost(make(Settings, {"model": "bert-base", "length": 600}))
    with pytest.raises(UnknownName):
        classify_text.cost(make(Settings, {"model": "bert-bose"}))
    with pytest.raises(BadFile, match="no file"):
        classify_text.cost(make(Settings, {"data": "nowhere.csv"}))
