import csv
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from onecard.core.errors import BadSetting
from onecard.core.settings import make
from onecard.engines import text_pairs
from onecard.engines.course import losses
from onecard.engines.reports import reports
from onecard.engines.rouge import lead_3, rouge
from onecard.execute.guard import climb
from onecard.execute.journal import Journal
from onecard.workloads import summarise
from onecard.workloads.summarise import Settings
from tests.workloads.text_runs import same, too_small

SMALL = {
    "steps": 10,
    "batch": 8,
    "micro_batch": 8,
    "checkpointing": False,
    "length": 48,
    "target_length": 12,
    "export": False,
}


@pytest.fixture
def small(tmp_path):
    """Settings of a quick run on 60 reports from a file."""
    file = tmp_path / "reports.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("text", "summary"), *reports(60, 3)])
    return SMALL | {"data": str(file)}


def test_rouge_is_what_its_paper_counts():
    """By hand: 5 of 6 words of each side shared, 3 of 5 pairs, and a longest common sequence of 5."""
    found = rouge(["the cat sat on the mat"], ["the cat lay on the mat"])
    assert found == pytest.approx({"rouge1": 100 * 5 / 6, "rouge2": 100 * 3 / 5, "rougeL": 100 * 5 / 6})
    assert rouge(["one two"], ["one two"])["rougeL"] == pytest.approx(100)
    assert rouge([""], ["one two"])["rouge1"] == 0


def test_lead_3_is_the_first_three_sentences():
    assert lead_3("One. Two! Three? Four.") == "One. Two! Three?"
    assert lead_3("no stop at all") == "no stop at all"


def test_a_report_tells_each_fact_of_its_summary_and_opens_with_none():
    for report, summary in reports(50, 1):
        ship = summary.split()[1]
        assert all(word in report.split() for word in summary.removesuffix(" .").split() if word in (ship, "days"))
        assert ship not in " ".join(report.split(" . ")[:2])
    assert reports(50, 1) == reports(50, 1)


@pytest.mark.slow
def test_the_reports_are_learnt_and_lead_3_beaten(run_workload):
    """0.2 M parameters, half a minute on one core."""
    ran = run_workload("summarise", {"micro_batch": 32, "checkpointing": False, "target_length": 24})
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    for key in ("rouge1", "rouge2", "rougeL"):
        assert quality[key] > 80
        assert quality[key] > quality[f"lead_3_{key}"] + 30
    assert 5 < quality["lead_3_rouge1"] < 60
    found = losses(ran.folder)
    assert found[len(found)] < 1 < found[1]


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_to_the_bit(run_workload, small):
    whole = run_workload("summarise", small, folder="whole")
    assert whole.ending.outcome == "ok", whole.ending.error

    def killed(event):
        if event["event"] == "validation" and event["step"] == 6:
            raise KeyboardInterrupt

    assert run_workload("summarise", small, folder="killed", on_event=killed).ending.outcome == "stopped"
    second = run_workload("summarise", small, folder="killed")
    assert second.of("effective")[0]["settings"]["resumed_at"] == 4
    assert same(whole.folder, second.folder)
    assert losses(whole.folder) == losses(second.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "since"), [("train", 5), ("evaluate", 4), ("save", 4), ("write", 10)])
def test_out_of_memory_anywhere_ends_at_the_same_step(run_workload, small, monkeypatch, tmp_path, phase, since):
    too_small(monkeypatch, phase, 4, since)
    rungs = summarise.ladder(make(Settings, small))
    folder = tmp_path / "runs" / "a"
    with Journal(folder) as journal:
        result = climb(lambda s, w: run_workload("summarise", s).ending, small, rungs, journal, folder)
    assert result.ending.outcome == "ok", result.ending.error
    assert [r.changed for r in result.taken] == [{"micro_batch": 4}]
    assert sorted(losses(folder)) == list(range(1, 11))


@pytest.mark.slow
def test_a_file_is_summarised_once_each_also_over_a_kill(run_workload, small, tmp_path, monkeypatch):
    asked = [text for text, _ in reports(20, 9)]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n".join(json.dumps({"text": t}) for t in asked), encoding="utf-8")
    settings = small | {"summarise": str(file), "steps": 2}
    write, calls = text_pairs.Pairs.write, []

    def killed(self, state, texts, device):
        calls.append(len(texts))
        if len(calls) == 3:  # the held-out rows, eight rows of the file, then the end
            raise KeyboardInterrupt
        return write(self, state, texts, device)

    monkeypatch.setattr(text_pairs.Pairs, "write", killed)
    first = run_workload("summarise", settings)
    assert first.ending.outcome == "stopped"
    answers = first.folder / "summaries.jsonl"
    before = answers.read_bytes()
    assert before.count(b"\n") == 8
    with answers.open("a") as out:
        out.write('{"row": 9, "sou')
    monkeypatch.setattr(text_pairs.Pairs, "write", write)
    second = run_workload("summarise", settings)
    assert second.ending.outcome == "ok", second.ending.error
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [(line["row"], line["source"]) for line in lines] == list(enumerate(asked, start=1))
    assert answers.read_bytes().startswith(before)
    assert "write_rows_per_s" in {m["name"] for m in second.of("measured")}

    file.write_text(json.dumps({"text": "another"}), encoding="utf-8")
    third = run_workload("summarise", settings)
    assert third.ending.outcome == "failed"
    assert "was changed" in third.ending.why
    assert answers.read_text().count("\n") == 20


@pytest.mark.slow
def test_a_folder_of_texts_is_summarised_in_order(run_workload, small, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, (text, _) in zip("cab", reports(3, 2), strict=True):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    ran = run_workload("summarise", small | {"summarise": str(folder), "steps": 1})
    assert ran.ending.outcome == "ok", ran.ending.error
    lines = [json.loads(line) for line in (ran.folder / "summaries.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [(folder / f"{n}.txt").read_text() for n in "abc"]
    (folder / "d.txt").write_text(" ", encoding="utf-8")
    ran = run_workload("summarise", small | {"summarise": str(folder), "steps": 1}, folder="b")
    assert "d.txt is empty" in ran.ending.what


@pytest.mark.slow
def test_wrong_columns_are_told_with_those_that_are_there(run_workload, small):
    ran = run_workload("summarise", small | {"summary_column": "abstract"})
    assert ran.ending.outcome == "failed"
    assert '"abstract"' in ran.ending.what
    assert '"text", "summary"' in ran.ending.why


@pytest.mark.slow
def test_prove_takes_the_same_steps_with_synthetic_rows(run_workload):
    ran = run_workload("summarise", SMALL, mode="prove")
    assert ran.ending.outcome == "ok", ran.ending.error
    assert {"step_seconds", "train_rows_per_s"} <= {m["name"] for m in ran.of("measured")}


def test_longer_than_the_net_can_see_is_refused():
    with pytest.raises(BadSetting, match="positions"):
        summarise.cost(make(Settings, {"length": 300}))
    assert summarise.cost(make(Settings, {"model": "t5-small", "length": 2048})).phases


def test_t5_is_told_to_summarise_and_others_are_not():
    assert summarise.task(make(Settings, {"model": "t5-small"})).prefix == "summarize: "
    assert summarise.task(make(Settings, {"model": "bart-base"})).prefix == ""
    assert summarise.task(make(Settings, {"model": "t5-small", "prefix": ""})).prefix == ""
