"""What simple methods reach on the same labelled texts: the commonest label, and counts of words with a linear layer.

A model that does not beat these two has learnt nothing that needs a model.
"""

import re
from collections import Counter
from typing import Any

_WORD = re.compile(r"\w+")


def majority(train: list[int], held_out: list[int]) -> float:
    """Accuracy of always saying the commonest label."""
    top = Counter(train).most_common(1)[0][0]
    return sum(label == top for label in held_out) / len(held_out)


def bag_of_words(
    train: list[tuple[str, int]], held_out: list[tuple[str, int]], classes: int, *, vocab: int = 20_000, seed: int = 0
) -> float:
    """Accuracy of logistic regression on normalised word counts (of the `vocab` commonest words), trained by Adam."""
    import torch

    counts = Counter(w for text, _ in train for w in _words(text))
    index = {w: i for i, (w, _) in enumerate(counts.most_common(vocab))}
    generator = torch.Generator().manual_seed(seed)
    table = torch.zeros(len(index) + 1, classes, requires_grad=True, device="cpu")
    bias = torch.zeros(classes, requires_grad=True, device="cpu")
    optimizer = torch.optim.Adam([table, bias], lr=0.05)
    known = [_ids(text, index) for text, _ in train]
    labels = torch.tensor([label for _, label in train], device="cpu")

    def logits(texts: list[list[int]]) -> Any:
        flat = torch.tensor([i for ids in texts for i in ids], device="cpu")
        starts = torch.tensor([0, *(len(ids) for ids in texts[:-1])], device="cpu").cumsum(0)
        return torch.nn.functional.embedding_bag(flat, table, starts, mode="mean") + bias

    with torch.device("cpu"):
        for _ in range(min(20, max(3, 400_000 // max(1, len(known))))):
            for part in torch.randperm(len(known), generator=generator).split(256):
                rows = part.tolist()
                loss = torch.nn.functional.cross_entropy(logits([known[i] for i in rows]), labels[part])
                loss = loss + 1e-4 * table.square().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            said: list[int] = logits([_ids(text, index) for text, _ in held_out]).argmax(1).tolist()
    right = sum(int(s == label) for s, (_, label) in zip(said, held_out, strict=True))
    return right / len(held_out)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:4096]


def _ids(text: str, index: dict[str, int]) -> list[int]:
    return [index.get(w, len(index)) for w in _words(text)] or [len(index)]
