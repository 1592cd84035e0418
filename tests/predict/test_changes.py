"""Before and after: ratios of medians, errors against a simulation."""

import random

import msgspec
import pytest

from onecard.api.changes import compare_records
from onecard.cli.options import echo_json
from onecard.core.errors import BadFile, BadSetting
from onecard.core.record import Measurement, Record
from onecard.core.score import median
from onecard.predict.changes import changes, differences


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
    assert change.error is None and not change.certain, "one measurement a side without repeats has no error"


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


def variant(rate, **settings):
    found = record(rate)
    found.plan["settings"] = {"model": "m", "quant": "q4_0", **settings}
    return found


def test_other_settings_are_other_work_and_the_words_tell_them_apart():
    """Two prompt lengths of one model have different rates: one median over both would be of neither."""
    old = [variant(100.0, prompt_tokens=512), variant(60.0, prompt_tokens=4096)]
    new = [variant(110.0, prompt_tokens=512), variant(60.0, prompt_tokens=4096)]
    found = {c.work: c.ratio for c in changes(old, new)}
    assert found == {
        "chat m, prompt tokens 512, quant q4_0": pytest.approx(1.1), "chat m, prompt tokens 4096, quant q4_0": pytest.approx(1.0),
    }  # fmt: skip


def test_what_a_card_chooses_for_itself_does_not_make_it_other_work():
    (change,) = changes([variant(10.0, n_gpu_layers=20)], [variant(40.0, n_gpu_layers=33)])
    assert change.ratio == 4.0 and change.work == "chat m, quant q4_0"


def test_one_record_a_side_has_the_error_of_its_repeats_and_says_so():
    def run(rate, times):
        return msgspec.structs.replace(record(rate), samples={"token_seconds": times})

    (change,) = changes([run(10.0, [0.1, 0.11, 0.09, 0.1])], [run(20.0, [0.05, 0.055, 0.045, 0.05])])
    assert (
        change.within and change.certain and change.error == pytest.approx(2.0 * 1.2533 * 0.083 * 2**0.5 / 2, rel=0.03)
    )
    (change,) = changes([run(10.0, [0.1])], [run(20.0, [0.05, 0.05])])
    assert change.error is None and not change.certain
    kept = msgspec.structs.replace(record(8.0, name="copy"), samples={"copy": [8.0, 9.0, 7.0]})
    assert changes([kept], [kept])[0].error == pytest.approx(1.2533 / 3**0.5 / 8 * 2**0.5)


def test_shares_of_a_limit_are_no_figures_of_their_own():
    both = record(10.0)
    share = Measurement(name="decode_share_of_bandwidth", unit="share", predicted=None, measured=0.5)
    both = msgspec.structs.replace(both, measurements=(*both.measurements, share))
    assert [c.name for c in changes([both], [both])] == ["decode_tokens_per_s"]


def test_what_else_changed_stands_beside():
    def on(driver, torch, device):
        found = record(1.0)
        found.plan["device"] = {"name": device}
        return msgspec.structs.replace(
            found, environment={"driver": driver, "system": "Linux", "versions": {"torch": torch}}
        )

    told = {
        d.name: (d.before, d.after)
        for d in differences([on("570", "2.10", "a"), on("575", "2.10", "a")], [on("580", "2.11", "a")])
    }
    assert told == {"driver": (("570", "575"), ("580",)), "torch": (("2.10",), ("2.11",))}
    (device,) = differences([on("580", "2.11", "a")], [on("580", "2.11", "b")])
    assert (device.name, device.before, device.after) == ("device", ("a",), ("b",))


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
