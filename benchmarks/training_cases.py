"""Published training rows -> the step to trace for each. Shared by the script that traces and the one that judges.

The nets are those of the code that was measured (nets_*.py). A case says what to build, for which class of cards and
how many steps; its key names its profile in profiles/training.json.gz.
"""

import json
import re
from typing import Any

import msgspec
from published_frame import Row, Unmapped
from published_names import device_of

LADDER = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 2, 1)
"""the batch sizes that timm's script steps through when one does not run"""


DEVICE_BOUND = 16
"""images from which on a pass of NVIDIA's ResNet-50 is not the host's: below, all of them take 10 to 14 ms"""
INFERRED = 32
"""images of the traced forward passes; rows have 256 and more"""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One step to trace."""

    module: str
    arguments: dict[str, Any]
    card_class: str
    steps: int

    @property
    def key(self) -> str:
        return f"{self.module} {json.dumps(self.arguments, sort_keys=True)} {self.card_class} x{self.steps}"


def litgpt(row: Row) -> Case:
    """The first iteration, which holds the longest sample."""
    tokens = re.search(r"(\d+) tok", row["context_or_resolution"])
    method = re.match(r"litgpt (LoRA|Adapter v2|Adapter)", row["software"])
    if not tokens or not method:
        raise Unmapped("not a finetuning row of the resource table")
    precision = row["precision"]
    arguments = {
        "model": row["model"], "method": method[1], "batch": int(row["batch"]), "tokens": int(tokens[1]),
        "packed": "nf4-dq" if "double" in precision else "nf4" if "nf4" in precision else "",
    }  # fmt: skip
    return Case(module="nets_litgpt", arguments=arguments, card_class="sm_80", steps=1)


def qwen(row: Row) -> Case:
    """LoRA, on the chat models as it is and on the base models with embedding and head; states exist in the second step."""
    software = row["software"]
    if "Q-LoRA" in software:
        raise Unmapped("GPTQ int4 base: memory of the old loss is not counted")
    if "LoRA" not in software:
        raise Unmapped("DeepSpeed's flat buffers are not traced")
    arguments = {
        "model": row["model"], "tokens": int(row["context_or_resolution"].removeprefix("seq=")),
        "ends": "trainable emb" in software,
    }  # fmt: skip
    return Case(module="nets_qwen", arguments=arguments, card_class="sm_80", steps=2)


def bert(row: Row) -> Case:
    """Two steps: states and gradients exist in the second."""
    software = row["software"]
    arguments = {
        "batch": int(row["batch"]), "fp16": "fp16" in row["precision"], "checkpoint": "checkpointing" in software,
        "optimizer": next(o for o in ("Adafactor", "8-bit Adam", "AdamW") if o in software),
    }  # fmt: skip
    return Case(module="nets_bert", arguments=arguments, card_class="sm_70", steps=2)


def timm(row: Row, batch: int | None = None) -> Case:
    """A training step at the row's batch, or at another one."""
    arguments = {
        "model": row["model"], "batch": batch or int(float(row["batch"])),
        "size": int(row["context_or_resolution"].partition("x")[0]), "channels_last": "nhwc" in row["software"],
    }  # fmt: skip
    return Case(module="nets_timm", arguments=arguments, card_class="sm_86", steps=2)


def timm_inference(row: Row) -> Case:
    """A forward pass of a few images; operations grow with the batch."""
    arguments = {
        "model": row["model"], "batch": INFERRED, "size": int(row["context_or_resolution"].partition("x")[0]),
        "channels_last": "nhwc" in row["software"], "train": False,
    }  # fmt: skip
    return Case(module="nets_timm", arguments=arguments, card_class="sm_86", steps=1)


CLASSES = {
    "A100": "sm_80", "V100": "sm_70", "T4": "sm_75", "RTX 3090": "sm_86", "RTX 4090": "sm_89", "RTX 4080": "sm_89", "A10G": "sm_86",
}  # fmt: skip
"""class of the cards of diffusion rows, by the start of their name"""


def denoising(row: Row) -> Case:
    """A denoising step of an eager pipeline; img2img and inpainting run the same UNet (but for its first convolution)."""
    name, software = row["model"], row["software"]
    if row["unit"] != "it/s":
        raise Unmapped("seconds of a whole pipeline: text encoder, steps and decoder are not told apart")
    if not any(word in software for word in ("eager", "vanilla PyTorch 2")):
        raise Unmapped("compiled, or another engine: a trace sees the eager program")
    if "ControlNet" in name or name.startswith("IF") or "2.1" in name:
        raise Unmapped("its net is not traced yet")
    card = next((c for start, c in CLASSES.items() if row["gpu"].startswith(start)), None)
    if card is None:
        raise Unmapped(f"no class for {row['gpu']}")
    arguments = {
        "model": "sdxl" if "XL" in name else "sd15", "batch": int(row["batch"]),
        "size": int(row["context_or_resolution"].partition("x")[0]),
    }  # fmt: skip
    return Case(module="nets_unet", arguments=arguments, card_class=card, steps=1)


def example(row: Row) -> Case:
    """BERT on SQuAD and ResNet-50 of NVIDIA's examples, by NVIDIA and by Lambda; every batch is traced as it is."""
    name, given = row["model"], row["precision"]
    batch = int(float(row["batch"]))
    if name.startswith("ResNet-50"):
        if "lambdal" in row["source"]:
            raise Unmapped("how its images lie and are loaded is not in the row")
        if batch < DEVICE_BOUND:
            raise Unmapped("a pass of few images takes as long as the host needs, and the host is not in the row")
        precision = "amp" if "amp" in given else "fp32"
        arguments: dict[str, Any] = {"net": "resnet50", "batch": batch, "precision": precision}
        return Case(module="nets_examples", arguments=arguments, card_class="sm_70", steps=1)
    if "SQuAD" not in name:
        raise Unmapped("its program is not traced yet")
    if given == "fp32/tf32":
        if float(device_of(row).compute_capability or 0) >= 8:
            raise Unmapped("fp32, or TF32: the container's setting is not in the row")
        given = "fp32"
    arguments = {
        "net": "squad", "size": "large" if "large" in name else "base", "batch": batch,
        "precision": "amp" if "amp" in given else given, "tokens": 384, "train": "infer" not in row["metric"],
    }  # fmt: skip
    return Case(module="nets_examples", arguments=arguments, card_class="sm_80", steps=2 if arguments["train"] else 1)


def larger(batch: int) -> int | None:
    """The next larger batch that timm's script would have tried before."""
    at = LADDER.index(batch)
    return LADDER[at - 1] if batch < 512 else None


def cases(row: Row) -> list[Case]:
    """What must be traced to judge a row."""
    if row["task"] == "llm_finetuning" and "litgpt" in row["source"]:
        return [litgpt(row)]
    if row.file == "memory" and row["task"] == "llm_finetuning" and "QwenLM" in row["source"]:
        try:
            return [qwen(row)]
        except Unmapped:
            return []
    if "DeepLearningExamples" in row["source"] or "lambdal" in row["source"]:
        try:
            return [example(row)] if row.file == "speed" else []
        except Unmapped:
            return []
    if row["task"] == "nlp_finetuning" and "transformers docs" in row["source"]:
        return [bert(row)]
    if row["task"] == "cnn_training" and "timm" in row["source"]:
        batch = int(float(row["batch"]))
        above = larger(batch) if row.file == "memory" else None
        return [timm(row)] + ([timm(row, above)] if above else [])
    if row["task"] == "cnn_inference" and "timm" in row["source"]:
        return [timm_inference(row)]
    if row.file == "speed" and row["task"] == "diffusion_inference":
        try:
            return [denoising(row)]
        except Unmapped:
            return []
    return []
