import csv
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from onecard.core.errors import BadSetting
from onecard.core.settings import make
from onecard.engines import text_pairs
from onecard.engines.course import losses
from onecard.engines.parallel import pairs
from onecard.execute.guard import climb
from onecard.execute.journal import Journal
from onecard.workloads import translate
from onecard.workloads.translate import Settings
from tests.workloads.text_runs import same, too_small

SMALL = {
    "steps": 10,
    "batch": 8,
    "micro_batch": 8,
    "checkpointing": False,
    "length": 24,
    "target_length": 12,
    "export": False,
}


@pytest.fixture
def small(tmp_path):
    """Settings of a quick run on 60 pairs from a file."""
    file = tmp_path / "pairs.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("source", "target"), *pairs(60, 3)])
    return SMALL | {"data": str(file)}


@pytest.mark.slow
def test_the_made_up_language_is_learnt_and_the_copy_beaten(run_workload):
    """0.1 M parameters, 8 s on one core."""
    ran = run_workload("translate", {"micro_batch": 32, "checkpointing": False, "epochs": 3.0, "target_length": 16})
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    assert quality["bleu"] > 80
    assert quality["copy_bleu"] < 10
    assert quality["exact_share"] > 0.8
    found = losses(ran.folder)
    assert found[len(found)] < 1 < found[1]


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_to_the_bit(run_workload, small):
    whole = run_workload("translate", small, folder="whole")
    assert whole.ending.outcome == "ok", whole.ending.error

    def killed(event):
        if event["event"] == "validation" and event["step"] == 6:
            raise KeyboardInterrupt

    assert run_workload("translate", small, folder="killed", on_event=killed).ending.outcome == "stopped"
    second = run_workload("translate", small, folder="killed")
    assert second.of("effective")[0]["settings"]["resumed_at"] == 4
    assert same(whole.folder, second.folder)
    assert losses(whole.folder) == losses(second.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "since"), [("train", 5), ("evaluate", 4), ("save", 4)])
def test_out_of_memory_anywhere_ends_at_the_same_step(run_workload, small, monkeypatch, tmp_path, phase, since):
    too_small(monkeypatch, phase, 4, since)
    rungs = translate.ladder(make(Settings, small))
    folder = tmp_path / "runs" / "a"
    with Journal(folder) as journal:
        result = climb(lambda s, w: run_workload("translate", s).ending, small, rungs, journal, folder)
    assert result.ending.outcome == "ok", result.ending.error
    assert [r.changed for r in result.taken] == [{"micro_batch": 4}]
    assert sorted(losses(folder)) == list(range(1, 11))


@pytest.mark.slow
def test_a_file_is_translated_once_each_also_over_a_kill(run_workload, small, tmp_path, monkeypatch):
    asked = [source for source, _ in pairs(20, 9)]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n".join(json.dumps({"source": s}) for s in asked), encoding="utf-8")
    settings = small | {"translate": str(file), "steps": 2}
    whole = run_workload("translate", settings, folder="whole")
    assert whole.ending.quality["answered_rows"] == 20

    write, calls = text_pairs.Pairs.write, []

    def killed(self, state, texts, device):
        calls.append(len(texts))
        if len(calls) == 3:  # the held-out rows, eight rows of the file, then the end
            raise KeyboardInterrupt
        return write(self, state, texts, device)

    monkeypatch.setattr(text_pairs.Pairs, "write", killed)
    first = run_workload("translate", settings, folder="killed")
    assert first.ending.outcome == "stopped"
    answers = first.folder / "translated.jsonl"
    assert answers.read_text().count("\n") == 8
    with answers.open("a") as out:
        out.write('{"row": 9, "sou')
    monkeypatch.setattr(text_pairs.Pairs, "write", write)
    second = run_workload("translate", settings, folder="killed")
    assert second.ending.outcome == "ok", second.ending.error
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(1, 21))
    assert [line["source"] for line in lines] == asked
    assert answers.read_bytes() == (whole.folder / "translated.jsonl").read_bytes()


@pytest.mark.slow
def test_wrong_columns_are_told_with_those_that_are_there(run_workload, small):
    ran = run_workload("translate", small | {"target_column": "german"})
    assert ran.ending.outcome == "failed"
    assert '"german"' in ran.ending.what
    assert '"source", "target"' in ran.ending.why


@pytest.mark.slow
def test_prove_takes_the_same_steps_with_synthetic_rows(run_workload):
    ran = run_workload("translate", SMALL, mode="prove")
    assert ran.ending.outcome == "ok", ran.ending.error
    assert {"step_seconds", "train_rows_per_s"} <= {m["name"] for m in ran.of("measured")}


def test_longer_than_the_net_can_see_is_refused():
    with pytest.raises(BadSetting, match="positions"):
        translate.cost(make(Settings, {"target_length": 300}))
    assert translate.cost(make(Settings, {"model": "t5-small", "length": 2048})).phases
