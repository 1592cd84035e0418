"""Plans: the JSON to the letter, what a no says, and answers that an owner of 12 GB would check by hand."""

import json
import os
import subprocess
import sys

import pytest

import onecard
from onecard.core.device import Device
from onecard.core.plan import NO, OFFLOAD, plan_json
from onecard.core.units import GiB

NAMES = {"weights", "kv_cache", "activations", "gradients", "optimizer", "workspace", "context", "other"}


@pytest.mark.parametrize(
    "question",
    [
        {"model": "llama-3-8b", "quant": "q4_k_m", "context": 8192},
        {"model": "llama-3.3-70b"},
        {"model": "qwen3-next-80b"},
        {"model": "llama-3.1-8b", "engine": "transformers"},
        {"model": "llama-3.1-8b", "engine": "vllm"},
    ],
    ids=str,
)
def test_the_json_has_the_agreed_shape(question):
    answer = json.loads(json.dumps(plan_json(onecard.plan("chat", on="RTX 4070 Ti", **question))))
    assert {"id", "workload", "settings", "device", "verdict", "estimate", "decisions", "command"} <= set(answer)
    estimate = answer["estimate"]
    assert {"basis", "memory", "time", "rates", "limiters"} <= set(estimate)
    memory = estimate["memory"]
    assert {"peak_bytes", "phase", "parts", "usable_bytes", "free_bytes", "host_parts"} <= set(memory)
    assert set(memory["parts"]) <= NAMES and set(memory["host_parts"]) <= NAMES
    for ends in (memory["peak_bytes"], *memory["parts"].values(), *memory["host_parts"].values()):
        assert all(isinstance(end, int) for end in ends) and ends == sorted(ends)
    assert memory["peak_bytes"] == [sum(ends) for ends in zip(*memory["parts"].values(), strict=True)]
    assert set(memory["bases"]) >= {*memory["parts"], *memory["host_parts"]}
    assert set(estimate["rates"]) == {"prefill_tokens_per_s", "decode_tokens_per_s"} == set(estimate["rate_bases"])
    assert set(estimate["limiters"]) == {"prefill", "decode"}
    for phase in ("prefill", "decode"):
        assert len(estimate["time"][phase]["seconds"]) == 3 and estimate["time"][phase]["repeat"] >= 1
    assert len(estimate["time"]["total_seconds"]) == 3
    assert answer["decisions"][-1]["outcome"] == "accepted"


def test_the_recurrent_state_is_a_part_of_its_own():
    memory = onecard.plan(
        "chat", model="qwen3-next-80b", quant="q4_k_m", context=32768, kv_type="f16", on="H100 PCIe"
    ).estimate
    assert memory.memory.parts["kv_cache"].likely / GiB == pytest.approx(0.75, rel=0.02)
    assert memory.memory.parts["other"].likely > 50 * 2**20


def test_vllm_on_12_gb_runs_with_a_smaller_share_of_the_card():
    """0.9 of 11.99 GiB and a CUDA context are more than a card with a desktop has; a smaller share is what people set."""
    plan = onecard.plan("chat", model="llama-3.1-8b", engine="vllm", on="RTX 4070 Ti")
    assert plan.verdict == "fits" and plan.settings["gpu_memory_utilization"] < 0.9
    assert (
        plan.command.startswith("vllm serve ")
        and f"--gpu-memory-utilization {plan.settings['gpu_memory_utilization']}" in plan.command
    )
    asked = onecard.plan("chat", model="llama-3.1-8b", engine="vllm", gpu_memory_utilization=0.95, on="RTX 4070 Ti")
    assert asked.verdict == NO and "gpu_memory_utilization" in asked.advice.smallest_change


def test_a_no_keeps_the_question_in_its_advice():
    plan = onecard.plan("chat", model="llama-3.3-70b", engine="transformers", on="RTX 4070 Ti")
    assert plan.verdict == NO
    assert "nf4" in plan.advice.largest_that_fits and "(fits)" in plan.advice.largest_that_fits, "of the same engine"
    plan = onecard.plan("chat", model="llama-3.3-70b", quant="q8_0", n_gpu_layers=81, on="RTX 4070 Ti")
    assert "n_gpu_layers 81 ->" in plan.advice.smallest_change
    assert "(fits)" in plan.advice.largest_that_fits, (
        "what the card holds by itself comes before what the host helps with"
    )
    assert plan.advice.cards


def card(**changes):
    given = {
        "name": "a card", "kind": "cuda", "architecture": "Ada", "memory_total": 12 * GiB, "bandwidth": 504e9,
        "flops": {"fp16": 80e12, "fp32": 40e12, "int8": 320e12}, "multiprocessors": 60, "link": 25e9,
    }  # fmt: skip
    return Device(**{**given, **changes})


def test_offload_asks_whether_the_host_has_room():
    much = onecard.plan("chat", model="llama-3.3-70b", on=card(host_total=128 * GiB, host_free=120 * GiB))
    some = onecard.plan(
        "chat", model="llama-3.3-70b", context=4096, quant="q8_0", on=card(host_total=64 * GiB, host_free=40 * GiB)
    )
    assert much.verdict == OFFLOAD
    assert some.verdict == NO and "quant q8_0 ->" in some.advice.smallest_change
    freed = onecard.plan("chat", model="llama-3.3-70b", context=4096, on=card(host_total=64 * GiB, host_free=23 * GiB))
    assert freed.verdict == OFFLOAD
    assert sum(p.likely for p in freed.estimate.memory.host_parts.values()) <= 23 * GiB
    small = onecard.plan("chat", model="llama-3.3-70b", on=card(host_total=16 * GiB, host_free=9 * GiB))
    assert small.verdict == NO
    assert any("the host would hold" in d.why for d in small.decisions)


def test_what_is_odd_about_a_question_is_noted():
    plan = onecard.plan("chat", model="llama-2-7b", context=32768, on="RTX 4090")
    assert any("trained for 4,096" in note for note in plan.notes)
    assert not onecard.plan("chat", model="llama-3.1-8b", context=32768, on="RTX 4090").notes


def test_the_same_as_json_from_the_command_line():
    plan = onecard.plan("chat", model="llama-3-8b", engine="llama.cpp", quant="q4_k_m", context=8192, on="RTX 4070 Ti")
    line = "plan chat --model llama-3-8b --quant q4_k_m --context 8192 --on 4070ti --json"
    done = subprocess.run(
        [sys.executable, "-m", "onecard", *line.split()], capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"}
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout) == json.loads(json.dumps(plan_json(plan)))


def test_an_engine_whose_kernels_are_not_built_for_a_card_is_a_no_there():
    plan = onecard.plan("chat", model="llama-3.1-8b", engine="vllm", on="GTX 1080 Ti")
    assert plan.verdict == NO and any("compute capability 7.0" in note for note in plan.notes)
    assert plan.advice.cards and not any("Tesla P" in name or "GTX 10" in name for name in plan.advice.cards)
    assert onecard.plan("chat", model="llama-3.1-8b", engine="llama.cpp", on="GTX 1080 Ti").verdict == "fits"
