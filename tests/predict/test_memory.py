"""The peak of a Cost on a Device: which parts exist where, the context, reserving engines, one memory for both."""

import msgspec
import pytest

from onecard.catalog import card
from onecard.core.cost import Cost, Part, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.predict.memory import context, memory

GiB = 2**30

CPU = Device(name="cpu", kind="cpu", architecture="avx2", memory_total=32 * GiB, bandwidth=2e10, unified=True)
COST = Cost(
    runtime="llama.cpp",
    phases=(
        Phase(
            name="decode",
            parts=(
                Part(name="weights", bytes=Range.exact(4 * GiB)),
                Part(name="weights", bytes=Range.exact(GiB), place="host"),
                Part(name="weights", bytes=Range.exact(GiB), place="host", only="card"),
                Part(name="workspace", bytes=Range.exact(GiB), only="card"),
                Part(name="other", bytes=Range.exact(2 * GiB), only="cpu"),
            ),
        ),
    ),
)


def test_a_card_has_its_parts_and_the_host_has_the_others():
    found = memory(COST, card("RTX 4090"))
    assert found.parts["weights"].likely == 4 * GiB
    assert found.parts["workspace"].likely == GiB
    assert "other" not in found.parts
    assert found.host_parts["weights"].likely == 2 * GiB
    assert found.peak_bytes.likely == pytest.approx(sum(p.likely for p in found.parts.values()))
    assert found.allocated is not None and found.allocated.likely == 5 * GiB


def test_a_cpu_holds_everything_once():
    found = memory(COST, CPU)
    assert found.parts["weights"].likely == 5 * GiB
    assert found.parts["other"].likely == 2 * GiB
    assert "workspace" not in found.parts
    assert not found.host_parts


def test_every_architecture_has_a_context_with_a_wide_range():
    for name in ("GTX 1080", "RTX 2080", "RTX 3090", "RTX 4090", "A100 PCIe 80GB", "H100 PCIe", "RTX 5090"):
        for runtime in ("llama.cpp", "torch", "vllm"):
            found = context(card(name), runtime)
            assert 60 * 2**20 < found.likely < 1.2 * GiB
            assert found.high / found.low > 2
    assert context(card("RTX 4090"), "torch").likely > context(card("RTX 4090"), "llama.cpp").likely


def test_a_reserving_engine_fills_its_share_with_cache():
    cost = Cost(
        runtime="vllm",
        phases=(
            Phase(
                name="decode",
                parts=(
                    Part(name="weights", bytes=Range.exact(8 * GiB)),
                    Part(name="kv_cache", bytes=Range.exact(GiB)),
                ),
            ),
        ),
        extra={"reserves": 0.9},
    )
    device = card("RTX 4090")
    found = memory(cost, device)
    assert found.parts["weights"].likely + found.parts["kv_cache"].likely == pytest.approx(0.9 * device.memory_total)


def test_a_caching_allocator_reserves_more_than_it_hands_out():
    cost = Cost(
        runtime="torch", phases=(Phase(name="decode", parts=(Part(name="weights", bytes=Range.exact(8 * GiB)),)),)
    )
    found = memory(cost, card("RTX 4090"))
    assert found.reserved is not None and found.allocated is not None
    assert found.allocated.likely < found.reserved.likely < 1.1 * found.allocated.likely


def test_the_heap_of_a_processor_holds_more_than_what_lives_in_it():
    """Freed blocks stay with the process: only what comes and goes is counted, only in torch, never on a card."""
    parts = (
        Part(name="weights", bytes=Range.exact(4 * GiB)),
        Part(name="activations", bytes=Range.exact(GiB)),
        Part(name="gradients", bytes=Range.exact(GiB)),
    )
    cost = Cost(runtime="torch", phases=(Phase(name="train", parts=parts),))
    found = memory(cost, CPU)
    assert (
        0.5 * GiB
        <= found.parts["workspace"].low
        < found.parts["workspace"].likely
        < found.parts["workspace"].high
        <= 2 * GiB
    )
    assert found.bases["workspace"] == "measured"
    held_by_card = memory(cost, card("RTX 4090")).parts["workspace"]
    assert held_by_card.likely < found.parts["workspace"].likely
    still = Cost(runtime="torch", phases=(Phase(name="decode", parts=parts[:1]),))
    assert "workspace" not in memory(still, CPU).parts
    assert "workspace" not in memory(msgspec.structs.replace(cost, runtime="llama.cpp"), CPU).parts


def test_a_part_that_peaks_in_another_phase_is_told_as_it_is_there():
    """transformers keeps the keys and values of the prompt only while it reads it: the whole context comes at the end."""
    from onecard import plan

    memory = plan(
        "chat", model="smollm2-135m", engine="transformers", quant="bf16", context=1024, on="RTX 4070 Ti"
    ).estimate.memory
    whole = 30 * 2 * 3 * 64 * 1024 * 2  # layers x (K + V) x heads x width x tokens x 2 bytes
    assert max(
        memory.parts["kv_cache"].likely, memory.elsewhere.get("kv_cache", memory.parts["kv_cache"]).likely
    ) == pytest.approx(whole, rel=0.02)
    for name, size in memory.elsewhere.items():
        assert name not in memory.parts or size.likely > memory.parts[name].likely
