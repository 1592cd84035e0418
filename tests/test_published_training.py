"""Published training rows against committed traces: the bars hold, and the traced nets are what the rows describe."""

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import published_frame as frame
import published_training
import training_cases

ROWS = frame.read(frame.HERE / "measurements")


def errors(task, word, metric="peak_gpu_memory"):
    found = {}
    for row in ROWS:
        if row.file == "memory" and row["task"] == task and word in row["source"] and row["metric"] == metric:
            mapped = published_training.MAPPERS["memory", task](row)
            found[row.line] = mapped.predicted.likely / mapped.measured - 1
    return found


def test_every_litgpt_row_within_two_percent():
    found = errors("llm_finetuning", "litgpt")
    assert len(found) == 29
    assert max(map(abs, found.values())) < 0.02
    assert statistics.median(map(abs, found.values())) < 0.005


def test_what_did_not_run_on_40_gb_does_not_fit():
    rows = [r for r in ROWS if r["task"] == "llm_finetuning" and "litgpt" in r["source"] and r["metric"] == "fit"]
    assert len(rows) == 6
    for row in rows:
        assert published_training.finetuning_memory(row).predicted.likely == float(row["value"])


def test_the_bert_ladder_within_five_percent():
    found = errors("nlp_finetuning", "transformers docs")
    assert len(found) == 9
    assert max(map(abs, found.values())) < 0.05
    assert statistics.median(map(abs, found.values())) < 0.01


def test_fine_tuning_speed_within_fifteen_percent_in_the_median():
    """Qwen's LoRA (traced), its GPTQ bases (counted, as `plan finetune` answers) and the BERT ladder."""
    found = {"traced": [], "counted": [], "bert": []}
    for row in ROWS:
        mapper = published_training.MAPPERS.get((row.file, row["task"]))
        if row.file != "speed" or row["task"] not in ("llm_finetuning", "nlp_finetuning"):
            continue
        if "DeepLearningExamples" in row["source"]:
            continue
        try:
            mapped = mapper(row)
        except frame.Unmapped:
            continue
        kind = "bert" if row["task"] == "nlp_finetuning" else "counted" if "Q-LoRA" in row["software"] else "traced"
        found[kind].append(mapped.predicted.likely / mapped.measured - 1)
    assert [len(rows) for rows in found.values()] == [36, 24, 9]
    for rows in found.values():
        assert statistics.median(map(abs, rows)) < 0.15


def test_bert_of_nvidias_examples_on_thirty_cards_within_fifteen_percent_in_the_median():
    """Neither of the two sources was fitted to."""
    found, cards = [], set()
    for row in ROWS:
        if "SQuAD" not in row["model"] or (
            "lambdal" not in row["source"] and "DeepLearningExamples" not in row["source"]
        ):
            continue
        try:
            mapped = published_training.training_rate(row)
        except frame.Unmapped:
            continue
        found.append(abs(mapped.predicted.likely / mapped.measured - 1))
        cards.add(published_training.device_of(row).name)
    assert len(found) >= 92
    assert len(cards) >= 24
    assert statistics.median(found) < 0.15


def test_the_counted_law_of_finetune_agrees_with_published_lora_rows():
    rows = [r for r in ROWS if r.file == "speed" and "finetune.py LoRA," in r["software"]]
    errors = [published_training.counted_seconds(r, "lora").likely / float(r["value"]) - 1 for r in rows]
    assert len(errors) == 18
    assert statistics.median(map(abs, errors)) < 0.15


def test_nine_of_ten_brackets_are_right():
    rows = [r for r in ROWS if r.file == "memory" and r["task"] == "cnn_training"]
    right = sum(m.predicted.likely == m.measured for m in map(published_training.timm_bracket, rows))
    assert len(rows) == 48
    assert right / len(rows) >= 0.9


def test_larger_batches_are_those_of_the_script():
    assert training_cases.larger(384) == 512
    assert training_cases.larger(8) == 12
    assert training_cases.larger(512) is None


@pytest.mark.slow
def test_a_profile_is_what_a_trace_of_today_gives():
    pytest.importorskip("torch")
    import make_profiles

    row = next(r for r in ROWS if "litgpt" in r["source"] and r["model"] == "phi-1.5" and r["task"] == "llm_finetuning")
    case = training_cases.litgpt(row)
    fresh, kept = make_profiles.trace(case), published_training.profile(case)
    assert (fresh["allocated"], fresh["reserved"]) == (kept["allocated"], kept["reserved"])
    assert fresh["smallest_capacity"] == kept["smallest_capacity"]
    assert kept["requested"] <= kept["allocated"] <= kept["smallest_capacity"] <= kept["reserved"] + (8 << 20)
