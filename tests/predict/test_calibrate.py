"""Factors: bounded, shrunk, learned from the right Records, and worth something on Records they have not seen."""

import math
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from onecard import catalog
from onecard.core.record import Measurement, Record
from onecard.predict.calibrate import FLOOR, calibrate, fit, held_out
from onecard.predict.factors import HIGHEST, LOWEST, Factor, Factors, kind_of
from onecard.predict.price import price
from tests.predict.test_time import cost


def record(number: int, measured: float, predicted: float = 100.0, device: str = "card", **changes) -> Record:
    fields = {
        "id": str(number),
        "kind": "prove",
        "plan": {
            "device": {"name": device},
            "settings": {"engine": "llama.cpp", "quant": "q4_k_m"},
            "workload": "chat",
        },
        "started": f"2026-01-{number + 1:02}T00:00:00Z",
        "seconds": 1.0,
        "outcome": "ok",
        "requested": {},
        "effective": {},
        "environment": {},
        "measurements": (
            Measurement(name="decode_tokens_per_s", unit="tokens/s", predicted=(80, predicted, 120), measured=measured),
        ),
    }
    return Record(**(fields | changes))


def test_no_records_change_nothing():
    assert calibrate([], "card") == Factors(device="card")


def test_a_slow_device_gets_a_factor_above_one_and_more_records_more_of_it():
    few = calibrate([record(0, 80)], "card").entries["llama.cpp/decode"]
    many = calibrate([record(i, 80) for i in range(9)], "card").entries["llama.cpp/decode"]
    assert 1 < few.value < many.value < 100 / 80
    assert many.spread < few.spread
    assert (few.records, many.records) == (1, 9)


def test_other_devices_failed_runs_and_unobserved_rates_teach_nothing():
    rows = [
        record(0, 50, device="other"),
        record(1, 50, outcome="oom"),
        record(
            2, 50, measurements=(Measurement(name="decode_tokens_per_s", unit="", predicted=(1, 2, 3), measured=None),)
        ),
        record(3, 50, measurements=(Measurement(name="peak", unit="bytes", predicted=(1, 2, 3), measured=9),)),
    ]
    assert calibrate(rows, "card").entries == {}


def test_a_proof_in_transformers_corrects_the_next_plan_in_transformers():
    card = catalog.card("RTX 4090")
    plan = {"device": {"name": card.name}, "settings": {"engine": "transformers", "quant": "bf16"}, "workload": "chat"}
    factors = calibrate([record(i, 80, device=card.name, plan=plan) for i in range(3)], card.name)
    work = msgspec.structs.replace(cost(engine="transformers", quant="bf16"), runtime="torch")
    assert price(work, card, factors).calibrated_by == 3


def test_what_factors_had_already_corrected_is_not_corrected_twice():
    plan = {"device": {"name": "card"}, "settings": {"engine": "llama.cpp"}, "estimate": {"factors": {"decode": 1.25}}}
    corrected = [record(i, 80, predicted=80, plan=plan) for i in range(9)]
    plain = [record(i, 80, predicted=100) for i in range(9)]
    assert math.isclose(
        calibrate(corrected).entries["llama.cpp/decode"].value, calibrate(plain).entries["llama.cpp/decode"].value
    )


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_factors_stay_within_their_bounds(ratios):
    factor = fit(ratios)
    assert LOWEST <= factor.value <= HIGHEST
    assert factor.spread >= FLOOR
    assert min(1, min(ratios)) <= factor.value * (1 + 1e-12)
    assert factor.value <= max(1, max(ratios)) * (1 + 1e-12)


def test_a_calibration_helps_on_records_that_it_has_not_seen():
    noise = random.Random(1)
    rows = [record(i, 75 * noise.uniform(0.96, 1.04)) for i in range(20)]
    figures = held_out(rows, "card")
    assert figures is not None
    assert figures["before"] > 0.2
    assert figures["after"] < 0.05


def test_the_range_of_a_factor_holds_new_records_of_the_same_device():
    noise = random.Random(2)
    inside = rows = 0
    for _ in range(60):
        level = noise.uniform(0.8, 1.3)
        ratios = [level * math.exp(noise.gauss(0, 0.05)) for _ in range(6)]
        factor = fit(ratios[:5])
        inside += factor.value / (1 + factor.spread) <= ratios[5] <= factor.value * (1 + factor.spread)
        rows += 1
    assert inside / rows >= 0.9


def test_price_applies_factors_says_so_and_narrows_the_range():
    card = catalog.card("RTX 4090")
    plain = price(cost(), card)
    factors = Factors(
        device=card.name, entries={"llama.cpp/decode/q4_k": Factor(value=1.2, spread=0.08, records=4)}, records=4
    )
    corrected = price(cost(), card, factors)
    before, after = plain.rates["decode_tokens_per_s"], corrected.rates["decode_tokens_per_s"]
    assert math.isclose(after.likely, before.likely / 1.2)
    assert after.width < before.width
    assert (corrected.calibrated_by, corrected.basis, corrected.factors) == (4, "calibrated", {"decode": 1.2})
    assert corrected.rate_bases == {"prefill_tokens_per_s": "counted", "decode_tokens_per_s": "calibrated"}


def test_a_mix_is_known_by_its_block_format():
    assert [kind_of(q) for q in ("Q4_K_M", "q4_k", "q8_0", "iq4_xs", "bf16")] == [
        "q4_k",
        "q4_k",
        "q8_0",
        "iq4_xs",
        "bf16",
    ]
