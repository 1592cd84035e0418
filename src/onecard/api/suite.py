"""The fixed suite of a bench: short proofs of every workload with the same settings everywhere, so that cards compare.

A workload that nobody wrote a case for still takes part, with the small settings that its own file names as an example.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from onecard.core.errors import OnecardError

PP512_TG128 = {"prefill_tokens_per_s": "pp512", "decode_tokens_per_s": "tg128"}
"""as llama-bench names reading 512 tokens of a prompt and writing 128 tokens"""

_CHAT = {
    "engine": "llama.cpp", "quant": "q4_k_m", "context": 1024, "kv_type": "f16", "prompt_tokens": 512, "output_tokens": 128,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One proof. quick: also in the short form. gpu: too slow to wait for on a processor."""

    name: str
    workload: str
    settings: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """rate -> the name that it is known by"""
    quick: bool = False
    gpu: bool = False


# The longest come last: a quick bench on a slow machine ends before them and not among them.
SUITE: tuple[Case, ...] = (
    Case(name="llama 1B q4_k_m", workload="chat", settings={"model": "llama-3.2-1b", **_CHAT}, names=PP512_TG128, quick=True),
    Case(name="llama 7B q4_k_m", workload="chat", settings={"model": "llama-2-7b", **_CHAT}, names=PP512_TG128),
    Case(
        name="gpt depth 4, 8 x 256",
        workload="pretrain",
        settings={"depth": 4, "context": 256, "micro_batch": 8, "batch": 8, "checkpointing": False},
        quick=True,
    ),
    Case(
        name="gpt depth 12, 8 x 1024",
        workload="pretrain",
        settings={"depth": 12, "context": 1024, "vocab": 50304, "micro_batch": 8, "batch": 8, "checkpointing": False},
        gpu=True,
    ),
    Case(
        name="tiny net, 32 x 64",
        workload="classify-text",
        settings={"model": "tiny", "length": 64, "batch": 32, "micro_batch": 32, "checkpointing": False},
        quick=True,
    ),
    Case(
        name="BERT base, 8 x 128",
        workload="classify-text",
        settings={"model": "bert-base", "length": 128, "batch": 8, "micro_batch": 8, "checkpointing": False},
    ),
    Case(
        name="tiny net, 32 x 32",
        workload="translate",
        settings={
            "model": "tiny", "length": 32, "target_length": 32, "batch": 32, "micro_batch": 32, "checkpointing": False,
        },
        quick=True,
    ),
    Case(
        name="Marian en-de, 8 x 64",
        workload="translate",
        settings={
            "model": "opus-mt-en-de", "length": 64, "target_length": 64, "batch": 8, "micro_batch": 8, "checkpointing": False,
        },
    ),
    Case(
        name="smollm2 135M LoRA, 1 x 128",
        workload="finetune",
        settings={
            "model": "smollm2-135m", "method": "lora", "sequence": 128, "batch": 1, "micro_batch": 1, "checkpointing": False,
        },
        quick=True,
    ),
    Case(
        name="llama 1B LoRA, 4 x 512",
        workload="finetune",
        settings={
            "model": "llama-3.2-1b", "method": "lora", "sequence": 512, "batch": 4, "micro_batch": 4, "checkpointing": True,
        },
        gpu=True,
    ),
)  # fmt: skip


def cases(*, quick: bool, on_gpu: bool) -> Iterator[tuple[str, Case]]:
    """(name of the step, case) of every workload that exists and can be proven; those of the suite first."""
    from onecard.workloads import names

    there = names()
    rest = [name for name in there if name not in {case.workload for case in SUITE}]
    for case in (*SUITE, *(found for name in rest if (found := example(name)) is not None)):
        if case.workload in there and (case.quick or not quick) and (on_gpu or not case.gpu):
            yield f"{case.workload} {case.name}", case


def example(name: str) -> Case | None:
    """The example that a workload's own file names; None where it cannot be proven. A broken file fails in its own step."""
    from onecard.workloads import get

    try:
        workload = get(name)
    except OnecardError:
        return Case(name="example", workload=name, quick=True)
    if not (workload.prove or (workload.build and workload.step)):
        return None
    return Case(name="example", workload=name, settings=dict(workload.example), quick=True)
