"""A Record of this machine corrects the next plan on it, and says so."""

import msgspec
import pytest

from onecard import api
from onecard.api.calibration import factors_of, learn
from onecard.core.device import Device
from onecard.core.places import home, records_file
from onecard.core.record import Measurement, Record
from onecard.store import records as store

CARD = Device(
    name="my card", kind="cuda", architecture="Ada", compute_capability="8.9", memory_total=12 << 30, bandwidth=500e9,
    flops={"fp32": 40e12, "fp16": 80e12, "int8": 160e12}, multiprocessors=60, clock=2.6e9, l2=48 << 20, link=25e9,
)  # fmt: skip
QUESTION = {"model": "llama-2-7b", "quant": "q4_k_m", "context": 2048, "n_gpu_layers": 33, "kv_type": "f16"}


def proven(slower: float) -> Record:
    plan = api.plan("chat", on=CARD, **QUESTION)
    rate = plan.estimate.rates["decode_tokens_per_s"]
    found = Measurement(
        name="decode_tokens_per_s",
        unit="tok/s",
        predicted=(rate.low, rate.likely, rate.high),
        measured=rate.likely / slower,
    )
    return Record(
        id=f"r{slower}", kind="prove", plan=msgspec.to_builtins(plan), started="2026-01-01T00:00:00+00:00", seconds=1.0,
        outcome="ok", requested={}, effective={}, environment={}, measurements=(found,),
    )  # fmt: skip


def decode():
    return api.plan("chat", on=CARD, **QUESTION).estimate


def test_a_record_bends_the_next_plan_towards_what_was_measured():
    before = decode()
    assert before.calibrated_by == 0
    store.add(records_file(), proven(1.2))
    learn()
    after = decode()
    assert after.calibrated_by == 1
    truth = before.rates["decode_tokens_per_s"].likely / 1.2
    assert truth <= after.rates["decode_tokens_per_s"].likely < before.rates["decode_tokens_per_s"].likely


def test_another_card_is_not_bent():
    store.add(records_file(), proven(1.5))
    learn()
    other = msgspec.structs.replace(CARD, name="another card")
    assert api.plan("chat", on=other, **QUESTION).estimate.calibrated_by == 0


@pytest.mark.parametrize("content", [b"", b"{half", b'{"my card": 3}'])
def test_a_file_that_cannot_be_read_is_as_good_as_none(content):
    (home() / "factors.json").write_bytes(content)
    assert factors_of("my card") is None
