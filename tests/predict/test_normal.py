"""Is my speed normal: each yardstick by itself, and causes only where the Record's own samples support them."""

import pytest

from onecard.core.record import Measurement, Record
from onecard.predict.causes import RULES, causes
from onecard.predict.normal import opinions

GiB = 1024**3
DEVICE = {"name": "card", "kind": "cuda", "memory_total": 12 * GiB, "link": 31.5e9}


def record(identity="r", rate=50.0, device=DEVICE, samples=None, predicted=(40.0, 50.0, 60.0), **changes):
    plan = {"workload": "chat", "settings": {"model": "m", "quant": "q4_k_m"}, "device": device}
    given = {
        "id": identity, "kind": "prove", "plan": plan, "started": "2026-01-01", "seconds": 1.0, "outcome": "ok", "requested": {},
        "effective": {}, "environment": {}, "samples": samples or {},
        "measurements": (Measurement(name="decode_tokens_per_s", unit="tok/s", predicted=predicted, measured=rate),),
    }  # fmt: skip
    return Record(**{**given, **changes})


def places(opinion):
    return {c.against: c.place(opinion.measured) for c in opinion.comparisons}


def test_inside_the_range_is_normal_and_needs_no_cause():
    (opinion,) = opinions(record(), [])
    assert opinion.normal and opinion.causes == () and places(opinion) == {"the plan's range": "normal"}


def test_history_counts_only_the_same_work_on_the_same_device():
    other_card = record("a", 90.0, device={**DEVICE, "name": "other"})
    other_model = record("b", 90.0)
    other_model.plan["settings"] = {"model": "another"}
    same = [record(f"s{i}", v) for i, v in enumerate((48.0, 50.0, 52.0))]
    (opinion,) = opinions(record("now", 38.0, predicted=None), [other_card, other_model, *same, record("now", 38.0)])
    (history,) = opinion.comparisons
    assert history.count == 3 and history.middle == 50.0
    assert history.place(38.0) == "slower" and history.place(43.0) == "normal" and history.place(60.0) == "faster"


def test_failed_runs_are_no_history():
    (opinion,) = opinions(record(), [record("x", 5.0, outcome="oom")])
    assert all(c.against != "this device's history" for c in opinion.comparisons)


def test_published_rates_are_a_yardstick_with_their_source():
    (opinion,) = opinions(
        record(rate=20.0, predicted=None),
        [],
        [("decode_tokens_per_s", 50.0, "url"), ("prefill_tokens_per_s", 1.0, "x")],
    )
    assert not opinion.normal
    assert opinion.comparisons[0].source == "url" and opinion.comparisons[0].count == 1


CASES = {
    "spilled to host memory": ({"device_used": [11.9 * GiB]}, {"device_used": [11.0 * GiB]}),
    "thermal throttle": (
        {"throttle": [0x40, 0x40, 0], "temperature": [91.0]},
        {"throttle": [0x1, 0x0], "temperature": [91.0]},
    ),
    "power limit": ({"throttle": [4, 4, 4], "power": [285.0]}, {"throttle": [4, 0, 0], "power": [285.0]}),
    "narrow link": (
        {"pcie_width": [4.0, 4.0], "pcie_generation": [4.0, 4.0]},
        {"pcie_width": [16.0, 16.0], "pcie_generation": [1.0, 4.0]},
    ),
    "another process on the card": (
        {"device_used": [9 * GiB], "driver": [5 * GiB]},
        {"device_used": [6 * GiB], "driver": [5 * GiB]},
    ),
    "loader-bound": ({"utilisation": [30.0] * 6}, {"utilisation": [95.0] * 6}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_named_by_its_evidence_and_a_near_miss_is_silent(name):
    guilty, innocent = CASES[name]
    assert name in {c.name for c in causes(record(samples=guilty), "decode_tokens_per_s")}
    assert name not in {c.name for c in causes(record(samples=innocent), "decode_tokens_per_s")}


def test_a_card_that_did_nothing_is_a_cpu_build():
    on_cpu = record(effective={"buffers": [{"where": "CPU_Mapped", "kind": "model", "bytes": 1}]})
    on_card = record(
        effective={
            "buffers": [{"where": "CUDA0", "kind": "model", "bytes": 1}, {"where": "CPU", "kind": "model", "bytes": 1}]
        }
    )
    assert [c.name for c in causes(on_cpu, "decode_tokens_per_s")] == ["CPU build"]
    assert causes(on_card, "decode_tokens_per_s") == ()


def test_threads_that_got_no_cores():
    cpu = {**DEVICE, "kind": "cpu"}
    clock = [0.0, 1.0, 2.0, 3.0]
    starved = record(
        device=cpu, effective={"threads": 2}, samples={"cpu_seconds": [0.0, 0.9, 1.8, 2.7], "cpu_seconds_t": clock}
    )
    fed = record(
        device=cpu, effective={"threads": 2}, samples={"cpu_seconds": [0.0, 2.0, 3.9, 5.9], "cpu_seconds_t": clock}
    )
    assert [c.name for c in causes(starved, "decode_tokens_per_s")] == ["other work on the processor"]
    assert causes(fed, "decode_tokens_per_s") == ()


def test_threads_of_torch_work_are_found_too_and_loading_accuses_nobody():
    """Half of the samples are of loading, with one thread; then both threads had a core each."""
    cpu = {**DEVICE, "kind": "cpu"}
    seconds = [0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 9.0]
    fed = {"cpu_seconds": seconds, "cpu_seconds_t": [float(i) for i in range(7)]}
    starved = {"cpu_seconds": [0.5 * i for i in range(7)], "cpu_seconds_t": fed["cpu_seconds_t"]}
    ready = {"ready": {"threads": 2}}
    assert causes(record(device=cpu, environment=ready, samples=fed), "train_tokens_per_s") == ()
    (cause,) = causes(record(device=cpu, environment=ready, samples=starved), "train_tokens_per_s")
    assert cause.name == "other work on the processor" and "2 threads got 0.5 cores" in cause.evidence


def test_attention_that_was_asked_for_and_not_taken():
    refused = record(effective={"flash_attention": "disabled"})
    assert [c.name for c in causes(refused, "decode_tokens_per_s")] == ["attention without flash"]
    unasked = record(requested={"flash_attention": False}, effective={"flash_attention": "disabled"})
    taken = record(effective={"flash_attention": "enabled"})
    assert causes(unasked, "decode_tokens_per_s") == () == causes(taken, "decode_tokens_per_s")


def test_every_rule_has_a_case_here():
    named = set(CASES) | {"CPU build", "other work on the processor", "attention without flash"}
    assert len(named) == len(RULES)


def test_causes_are_ranked_and_a_record_without_samples_has_none():
    both = record(samples={"device_used": [12 * GiB], "throttle": [4, 4]})
    weights = [c.weight for c in causes(both, "decode_tokens_per_s")]
    assert len(weights) == 2 and weights == sorted(weights, reverse=True)
    assert causes(record(), "decode_tokens_per_s") == ()
    assert len({rule.__name__ for rule in RULES}) == len(RULES)


def test_published_rates_are_found_by_card_model_and_format():
    from onecard import api
    from onecard.api.normality import published_rates
    from onecard.core.plan import plan_json

    plan = plan_json(api.plan("chat", model="llama-2-7b", quant="q4_0", context=2048, on="RTX 3090"))
    rates = {name for name, _, _ in published_rates(plan)}
    assert rates == {"decode_tokens_per_s", "prefill_tokens_per_s"}
    assert (
        published_rates(plan_json(api.plan("chat", model="llama-2-7b", quant="q5_1", context=2048, on="RTX 3090")))
        == []
    )
