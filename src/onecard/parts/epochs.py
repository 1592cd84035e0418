"""How long a fine-tuning run is: steps from epochs and rows, warm-up, evaluations, and which rows a step sees.

The rows of a step follow from (seed, step) alone: each epoch is a new shuffle of all rows. A run that was killed, or that
goes on with a smaller micro-batch, sees the same rows in the same order.
"""

import random
from functools import lru_cache

import msgspec

EVALUATIONS = 5
"""evaluations (and checkpoints) over a run, beside the first"""


class Epochs(msgspec.Struct, frozen=True, kw_only=True):
    """Length and parts of a run."""

    rows: int
    """to train on"""
    batch: int
    micro: int
    steps: int
    learning_rate: float
    seed: int

    @property
    def warmup(self) -> int:
        return max(1, self.steps // 10)

    @property
    def every(self) -> int:
        """Steps between two evaluations."""
        return max(1, -(-self.steps // EVALUATIONS))

    def of(self, step: int) -> list[int]:
        """Indices of the rows of a step (counted from 0)."""
        found = []
        for place in range(step * self.batch, (step + 1) * self.batch):
            epoch, at = divmod(place, self.rows)
            found.append(_shuffled(self.rows, self.seed, epoch)[at])
        return found


@lru_cache(maxsize=2)
def _shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    order = list(range(rows))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order


def plan_epochs(
    rows: int, *, epochs: float, steps: int | None, batch: int, micro: int | None, rate: float, seed: int
) -> Epochs:
    """Fill in what was left out; the micro-batch is the largest part of the batch that cuts it evenly."""
    most = min(batch, micro or batch)
    return Epochs(
        rows=rows,
        batch=batch,
        micro=max(d for d in range(1, most + 1) if batch % d == 0),
        steps=max(1, round(epochs * rows / batch)) if steps is None else steps,
        learning_rate=rate,
        seed=seed,
    )


HELD_OUT = 2000
"""rows that are held out at most"""


def held_rows(rows: int, share: float, most: int = HELD_OUT) -> int:
    """How many rows a split holds out: at least one, and never all where there are two. What a plan needs; it shuffles nothing."""
    return max(1, min(most, round(share * rows), rows - 1))


def split(rows: int, share: float, seed: int, most: int = HELD_OUT) -> tuple[list[int], list[int]]:
    """(train, held out): indices; at least one of each where there are two rows."""
    order = list(range(rows))
    random.Random(f"split {seed}").shuffle(order)
    held = held_rows(rows, share, most)
    return sorted(order[held:]), sorted(order[:held])
