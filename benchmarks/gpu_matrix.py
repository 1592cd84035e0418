"""What the GPU check proves: blocks of steps, each a case of gpu_cases.py or a workload, with fixed settings."""

from typing import Any

from onecard.core.units import GiB, show_size

BUDGET = 12 * GiB

STEPS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "lora": tuple(("lora", {"length": n, "checkpointing": c}) for n in (512, 1024, 2048) for c in (True, False)),
    "qlora": tuple(("qlora", {"length": n, "checkpointing": c}) for n in (512, 1024, 2048) for c in (True, False)),
    "vision": (
        *(("resnet50", {"batch": b}) for b in (32, 64, 128, 256)),
        *(("detector", {"batch": b}) for b in (32, 64, 128, 256)),
    ),
    "text": tuple(("bert", {"batch": b}) for b in (32, 128)),
    "diffusion": (
        ("denoise", {"family": "sd15", "size": 512}),
        ("denoise", {"family": "sdxl", "size": 1024}),
        ("vae", {"size": 512}),
        ("vae", {"size": 1024}),
    ),
}
"""block -> (case of gpu_cases.py, its settings)"""

MUST_FAIL = (("lora", {"length": 512, "checkpointing": True}), ("detector", {"batch": 128}))
"""the two whose plan says no under the budget and that are run all the same"""

CHAT: tuple[dict[str, Any], ...] = tuple(
    {
        "model": "llama-2-7b",
        "engine": "transformers",
        "quant": q,
        "context": n + 64,
        "prompt_tokens": n,
        "output_tokens": 32,
    }
    for q in ("bf16", "int8", "nf4")
    for n in (512, 2048, 4096)
)
PRETRAIN: tuple[dict[str, Any], ...] = ({"micro_batch": 8}, {"micro_batch": 32})
TINY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"length": 16, "checkpointing": True}),
    ("lora", {"length": 16, "checkpointing": False}),
    ("resnet50", {"batch": 2, "size": 64}),
    ("detector", {"batch": 2, "size": 64}),
    ("bert", {"batch": 2, "length": 16}),
    ("denoise", {"family": "sd15", "size": 64}),
    ("vae", {"size": 64}),
)
"""what a dry run makes on the CPU: each case but QLoRA, whose 4-bit kernels want a card"""
BLOCKS = ("micro", *STEPS, "chat", "pretrain", "caps")


def name_of(case: str, settings: dict[str, Any], budget: int | None) -> str:
    """One line that identifies a step; what is in the output already is found by it."""
    words = " ".join(f"{k}={v}" for k, v in settings.items())
    return f"{case} {words}{' under ' + show_size(budget) if budget else ''}".strip()
