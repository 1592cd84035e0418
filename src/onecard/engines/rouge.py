"""ROUGE of summaries, and of the first three sentences of what they summarise (lead-3: hard to beat on news)."""

import re


def lead_3(text: str) -> str:
    """The first three sentences; a text without full stops is one sentence."""
    return " ".join(re.split(r"(?<=[.!?])\s+", text.strip(), maxsplit=3)[:3])


def rouge(written: list[str], targets: list[str]) -> dict[str, float]:
    """F1 in percent of shared words (rouge1), pairs of words (rouge2) and the longest common sequence (rougeL).

    Means over the summaries as torchmetrics computes them: lower case, letters and digits only, no stemming.
    """
    from torchmetrics.functional.text.rouge import rouge_score

    found = rouge_score(written, targets, rouge_keys=("rouge1", "rouge2", "rougeL"))
    return {key: 100 * float(found[f"{key}_fmeasure"]) for key in ("rouge1", "rouge2", "rougeL")}
