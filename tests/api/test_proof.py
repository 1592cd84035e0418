"""The promise of the whole: a model of a billion weights is predicted, built with random weights, loaded and measured."""

import pytest

from onecard.api.runs import prove

pytest.importorskip("xllamacpp", reason="needs the extra gguf")


@pytest.mark.slow
def test_the_peak_of_a_1b_model_is_predicted_within_a_tenth():
    record = prove("chat", model="llama-3.2-1b", quant="q4_k_m", context=2048, prompt_tokens=64, output_tokens=16)
    assert record.outcome == "ok", record.error
    found = {m.name: m for m in record.measurements}
    assert abs(found["memory.peak"].error) < 0.10
    for part in ("weights", "kv_cache", "other", "workspace"):
        assert abs(found[f"memory.{part}"].error) < 0.03, part
    for share in ("decode_share_of_bandwidth", "prefill_share_of_arithmetic"):
        assert 0 < found[share].measured <= 1, "more than the device can do: a count or a peak is wrong"
