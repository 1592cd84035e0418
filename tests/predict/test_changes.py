"""Before and after: ratios of medians, errors against a simulation."""

import random

import pytest

from onecard.api.changes import compare_records
from onecard.cli.options import echo_json
from onecard.core.errors import BadFile, BadSetting
from onecard.core.record import Measurement, Record
from onecard.core.score import median
from onecard.predict.changes import changes


def record(rate, i=0, model="m", outcome="ok", name="decode_tokens_per_s"):
    plan = {"workload": "chat", "settings": {"model": model, "quant": "q4_0"}}
    found = Measurement(name=name, unit="tok/s", predicted=None, measured=rate)
    return Record(
        id=f"{model}{rate}{i}",
        kind="prove",
        plan=plan,
        started=f"2026-01-{i + 1:02}",
        seconds=1.0,
        outcome=outcome,
        requested={},
        effective={},
        environment={},
        measurements=(found,),
    )


def test_only_the_same_work_is_compared_and_failures_are_left_out():
    old = [record(10.0), record(99.0, model="only before"), record(1.0, outcome="oom")]
    new = [record(12.0), record(5.0, model="only after")]
    (change,) = changes(old, new)
    assert change.ratio == pytest.approx(1.2) and change.counts == (1, 1)
    assert change.error is None and not change.certain, "one measurement a side has no error"


def test_the_error_of_a_ratio_is_what_a_simulation_finds():
    rng = random.Random(7)
    ratios, claimed = [], []
    for _ in range(400):
        old = [rng.gauss(100, 5) for _ in range(25)]
        new = [rng.gauss(80, 2) for _ in range(25)]
        (change,) = changes([record(v, i) for i, v in enumerate(old)], [record(v, i) for i, v in enumerate(new)])
        ratios.append(change.ratio)
        claimed.append(change.error)
    mean = sum(ratios) / len(ratios)
    seen = (sum((r - mean) ** 2 for r in ratios) / len(ratios)) ** 0.5
    assert mean == pytest.approx(0.8, rel=0.01)
    assert median(claimed) == pytest.approx(seen, rel=0.15)


def test_two_files_or_a_date(tmp_path, capsys):
    for name, rates in (("before", (10.0, 11.0)), ("after", (20.0, 22.0))):
        echo_json([record(r, i) for i, r in enumerate(rates)])
        (tmp_path / f"{name}.json").write_text(capsys.readouterr().out)
    (change,) = compare_records(str(tmp_path / "before.json"), str(tmp_path / "after.json"))
    assert change.ratio == pytest.approx(2.0) and change.certain
    with pytest.raises(BadFile):
        compare_records(str(tmp_path / "before.json"), str(tmp_path / "missing.json"))
    (tmp_path / "bad.json").write_text("[{]")
    with pytest.raises(BadFile):
        compare_records(str(tmp_path / "bad.json"), str(tmp_path / "after.json"))
    with pytest.raises(BadSetting):
        compare_records("yesterday")
    assert compare_records("2026-01-02") == ()
