"""The law of speed: it must move the right way, and its limits must change places where physics says so."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onecard import catalog
from onecard.core.cost import Cost, Operation, Phase
from onecard.core.device import Device
from onecard.parts.chat_work import chat_work
from onecard.predict.price import price
from onecard.predict.time import blend, time_phase, wave

CARDS = (
    "RTX 4090",
    "RTX 3070",
    "A100 PCIe 80GB",
    "L4",
    "RTX 2080 Ti",
    "GTX 1080 Ti",
    "Apple M2 Ultra 76-core GPU",
    "RX 7900 XTX",
)


def cost(model: str = "llama-3.1-8b", **options) -> Cost:
    given = {"engine": "llama.cpp", "quant": "q4_k_m", "prompt_tokens": 512, "output_tokens": 128} | options
    work = chat_work(catalog.find_model(model), **given)
    batch = float(given.get("batch", 1))
    return Cost(
        phases=(
            Phase(name="prefill", operations=work.prefill, unit="tokens", units=given["prompt_tokens"] * batch),
            Phase(name="decode", operations=work.decode, unit="tokens", units=batch, repeat=128),
        ),
        runtime=given["engine"],
    )


def rate(device: Device, phase: str = "decode", **options) -> float:
    return price(cost(**options), device).rates[f"{phase}_tokens_per_s"].likely


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("field", ["bandwidth", "clock", "power", "multiprocessors"])
def test_more_of_anything_is_never_slower(card, phase, field):
    device = catalog.card(card)
    value = getattr(device, field)
    if value is None:
        pytest.skip(f"{card} has no {field}")
    better = msgspec.structs.replace(device, **{field: type(value)(value * 2)})
    if field == "multiprocessors":
        better = msgspec.structs.replace(better, flops={unit: 2 * rate for unit, rate in device.flops.items()})
    # A wave of tiles fits one number of multiprocessors better than another, so these may cost a few percent.
    least = 0.97 if field == "multiprocessors" else 1 - 1e-9
    assert rate(better, phase) >= rate(device, phase) * least


@pytest.mark.parametrize("card", CARDS)
def test_more_arithmetic_is_never_slower(card):
    device = catalog.card(card)
    better = msgspec.structs.replace(device, flops={unit: 2 * rate for unit, rate in device.flops.items()})
    for phase in ("prefill", "decode"):
        assert rate(better, phase) >= rate(device, phase) * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60_000),
    st.integers(1, 60_000),
    st.sampled_from(CARDS),
    st.sampled_from(["llama.cpp", "transformers", "vllm"]),
)
def test_a_deeper_context_is_never_faster(a, b, card, engine):
    device = catalog.card(card)
    quant = "q4_k_m" if engine == "llama.cpp" else "bf16"
    shallow, deep = (
        price(cost(engine=engine, quant=quant, prompt_tokens=n), device).time["decode"].seconds.likely
        for n in sorted((a, b))
    )
    assert deep >= shallow * (1 - 1e-12)


def test_a_smaller_format_is_faster_where_memory_limits():
    card = catalog.card("RTX 4090")
    rates = [rate(card, quant=q) for q in ("f16", "q8_0", "q6_k", "q4_k_m", "q2_k")]
    assert rates == sorted(rates)


def test_an_a100_is_held_by_requests_in_flight_and_a_geforce_by_its_memory():
    limiters = {
        card: price(cost(), catalog.card(card)).limiters["decode"] for card in ("A100 PCIe 80GB", "RTX 4000 Ada")
    }
    assert limiters == {"A100 PCIe 80GB": "dequantisation", "RTX 4000 Ada": "bandwidth"}


def test_a_small_model_waits_for_launches_and_an_eager_one_for_the_host():
    card = catalog.card("A100 PCIe 80GB")
    assert price(cost("tinyllama-1.1b"), card).limiters["decode"] == "launches"
    eager = cost("llama-3.2-1b", engine="transformers", quant="bf16")
    assert price(eager, card).limiters["decode"] == "launches"
    small, large = (rate(card, model=m, engine="transformers", quant="bf16") for m in ("llama-3.2-1b", "llama-3.1-8b"))
    layers = 32 / 16
    assert small / large == pytest.approx(layers, rel=0.05)


def test_prefill_is_arithmetic_and_partial_offload_is_the_host():
    card = catalog.card("RTX 4090")
    assert price(cost(), card).limiters["prefill"] == "compute"
    half = price(cost(gpu_layers=16), card)
    assert half.limiters["decode"] == "host"
    assert half.rates["decode_tokens_per_s"].likely < rate(card) / 3


def test_more_layers_on_the_device_are_never_slower():
    card = catalog.card("RTX 3070")
    rates = [rate(card, gpu_layers=n) for n in (1, 8, 16, 24, 32, 33)]
    assert rates == sorted(rates)
    assert rate(card, gpu_layers=33) == rate(card, gpu_layers=-1) == rate(card)


def test_flash_attention_is_never_slower_and_matters_at_depth():
    card = catalog.card("RTX 3090")
    for depth in (16, 4096, 30_000):
        fused, eager = (rate(card, prompt_tokens=depth, flash=flash) for flash in (True, False))
        assert fused >= eager
    assert fused / eager > 1.2


def test_a_batch_shares_the_weights():
    card = catalog.card("A100 SXM4 80GB")
    one, eight = (rate(card, engine="vllm", quant="bf16", batch=b) for b in (1, 8))
    assert 5 < eight / one < 8


def test_error_correction_costs_bandwidth():
    plain = catalog.card("RTX A6000")
    corrected = msgspec.structs.replace(plain, features=("ecc",))
    assert rate(corrected, quant="f16") < 0.93 * rate(plain, quant="f16")


def test_a_mixture_reads_only_visited_experts():
    card = catalog.card("A100 SXM4 80GB")
    mixture = {"model": "mixtral-8x7b", "engine": "vllm", "quant": "bf16"}  # the bytes of its experts set the pace
    sparse = price(cost(**mixture), card).time["decode"].seconds.likely
    dense = price(cost(**mixture, batch=64), card).time["decode"].seconds.likely
    assert 2 < dense / sparse < 8


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9000), st.integers(64, 40_000), st.integers(8, 200))
def test_a_wave_is_a_share(m, n, multiprocessors):
    assert 0 < wave((m, n, 4096), multiprocessors) <= 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=4))
def test_blended_limits_are_at_least_the_largest_and_at_most_their_sum(limits):
    assert max(limits) <= blend(*limits) <= sum(limits) * (1 + 1e-9)


XEON = Device(
    name="two cores", kind="cpu", architecture="avx2", memory_total=24 << 30, bandwidth=30e9, multiprocessors=2, clock=2.6e9,
    flops={"fp32": 180e9}, unified=True, features=("avx2",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "prefill", "decode"), [("q4_k_m", 100.2, 21.9), ("q2_k", 110.1, 18.6), ("iq4_xs", 106.5, 12.6)]
)
def test_two_idle_cores_keep_the_range(quant, prefill, decode):
    """Measured with xllamacpp 2026.10 on two idle 2.6 GHz cores, 512 tokens deep, memcmp at 30 GB/s (benchmarks/fit_cpu.py)."""
    rates = price(cost("tinyllama-1.1b", quant=quant), XEON).rates
    assert rates["prefill_tokens_per_s"].holds(prefill)
    assert rates["decode_tokens_per_s"].holds(decode)


def test_a_processor_gains_from_cores_until_memory_limits():
    rates = [rate(msgspec.structs.replace(XEON, multiprocessors=n), quant="q4_k_m") for n in (1, 2, 4, 16, 64)]
    assert rates == sorted(rates)
    assert rates[1] / rates[0] > 1.8
    assert rates[4] / rates[3] < 1.1
    assert price(cost(), msgspec.structs.replace(XEON, multiprocessors=64)).limiters["decode"] == "bandwidth"


def test_a_guessed_number_widens_the_range():
    guessed = msgspec.structs.replace(XEON, uncertainty={"bandwidth": 0.6, "flops": 0.6})
    widths = [price(cost(), d).rates["decode_tokens_per_s"].width for d in (XEON, guessed)]
    assert widths[1] > 1.2 * widths[0]
    card = catalog.card("RTX 3070")
    known, laptop, old = (
        price(cost(), d).rates["decode_tokens_per_s"].width
        for d in (card, catalog.card("RTX 3070 Laptop"), catalog.card("GTX 1080 Ti"))
    )
    assert known < laptop
    assert known < old


def test_unknown_numbers_do_not_break_the_price():
    bare = Device(name="mine", kind="cuda", memory_total=12 << 30, bandwidth=504e9)
    estimate = price(cost(), bare)
    assert estimate.rates["decode_tokens_per_s"].likely == pytest.approx(rate(catalog.card("RTX 4070 SUPER")), rel=0.3)
    phase = Phase(name="step", operations=(Operation(kind="elementwise", read=1e9),), unit="steps")
    assert time_phase(phase, bare, "none").seconds.likely > 1e9 / 504e9


@pytest.mark.parametrize(
    ("rows", "measured"), [(16, 2048), (32, 3546), (64, 6547), (128, 8675), (256, 11083), (512, 12322)]
)
def test_quantised_prompts_by_rows_of_a_pass(rows, measured):
    # Llama-3-8B IQ4_NL on an RTX 4090, 512 tokens in passes of so many rows (ggml-org/llama.cpp#24127)
    card = catalog.card("RTX 4090")
    found = price(cost("llama-3-8b", quant="iq4_nl", micro_batch=rows, version="b9400"), card)
    assert found.rates["prefill_tokens_per_s"].likely == pytest.approx(measured, rel=0.15)


def test_a_later_turn_reads_the_cache_of_the_earlier_ones():
    shape = catalog.model("llama-3-8b")
    fresh, late = (
        chat_work(shape, engine="llama.cpp", quant="q4_0", prompt_tokens=512, output_tokens=128, past_tokens=past)
        for past in (0, 8192)
    )
    longer = chat_work(shape, engine="llama.cpp", quant="q4_0", prompt_tokens=8704, output_tokens=128)
    assert late.decode == longer.decode
    assert (
        sum(o.flops for o in fresh.prefill) < sum(o.flops for o in late.prefill) < sum(o.flops for o in longer.prefill)
    )


def test_cards_without_int8_matrix_units_keep_their_own_law():
    # Pascal multiplies blocks with dp4a; tiles that feed matrix units do not set its pace.
    old, new = (
        price(cost("llama-3-8b", quant="q4_0"), catalog.card(name)).rates["prefill_tokens_per_s"].likely
        for name in ("Tesla P40", "RTX 3060")
    )
    assert 500 < old < 1500 < new


def test_random_numbers_cost_a_processor_and_no_card():
    """torch draws them by one thread there: 10 million take a tenth of a second at 2.4 GHz."""
    drawn = Operation(kind="random", written=1e7, only="cpu")
    phase = Phase(name="train", operations=(drawn,))
    processor = msgspec.structs.replace(catalog.card("RTX 4090"), kind="cpu", clock=2.4e9, architecture="avx2")
    assert time_phase(phase, processor, "torch").seconds.likely == pytest.approx(0.1, rel=0.01)
    assert time_phase(phase, catalog.card("RTX 4090"), "torch").seconds.likely == 0


def test_new_memory_and_backward_blocks_cost_a_processor_and_no_card():
    """2 GB of new pages: 0.62 s. 9 M elements of queries backward in bf16: 120 M clocks of each of 8 cores."""
    processor = Device(
        name="cpu", kind="cpu", memory_total=1, bandwidth=40e9, flops={"fp32": 3e11}, clock=2e9, multiprocessors=8
    )
    pages = Operation(kind="map", written=2e9, only="cpu")
    blocks = Operation(kind="backward", written=9e6, only="cpu")
    on_card = Operation(kind="matmul", kernel="cublas", compute="fp32", flops=1e15, shape=(512, 512, 512), only="card")

    def seconds(device: Device, *operations: Operation) -> float:
        return time_phase(Phase(name="train", operations=operations), device, "torch").seconds.likely

    assert seconds(processor, pages) == pytest.approx(0.62)
    assert seconds(processor, blocks) == pytest.approx(9e6 * 108 / (8 * 2e9))
    assert seconds(processor, on_card) == 0.0
    assert seconds(catalog.card("RTX 3090"), pages, blocks) == 0.0
    assert seconds(catalog.card("RTX 3090"), on_card) > 0
