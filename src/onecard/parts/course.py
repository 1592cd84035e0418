"""How long a pretraining run is and in which parts it is done: batch, steps, warm-up and learning rate from the shape."""

import math

import msgspec

from onecard.parts.gpt import GptShape

EVALUATIONS = 10
"""validations (and checkpoints) over a run, beside the first"""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Shape and length of a run."""

    shape: GptShape
    batch: int
    micro: int
    steps: int
    warmup: int
    every: int
    """steps between two evaluations (and checkpoints)"""
    learning_rate: float

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.shape.context

    @property
    def held_out(self) -> int:
        """Windows of each evaluation: as many tokens as four steps, so that all evaluations cost about a dozen steps."""
        return max(8, min(4 * self.batch, 65_536 // self.shape.context))


def plan_course(
    shape: GptShape,
    *,
    ratio: float,
    steps: int | None = None,
    batch: int | None = None,
    micro: int | None = None,
    learning_rate: float | None = None,
) -> Course:
    """Fill in what is None. ratio: tokens to train on for each parameter.

    Batch: 5 sqrt(tokens), to a power of two: the batch beyond which larger ones waste data grows about so (exponent
    0.46 in arXiv 2505.13738); the 5 puts nanochat's 0.5 M tokens at its 11 G. Learning rate: 0.6 / width, at most 0.003: the
    best rate falls with the width (arXiv 2203.03466), and nanoGPT's 6e-4 at 768 and 1e-3 at 384 lie near it.
    """
    tokens = ratio * shape.parameters
    if steps and batch:
        tokens = float(steps * batch * shape.context)
    batch = batch or max(1, int(2 ** round(math.log2(5 * math.sqrt(tokens)))) // shape.context)
    steps = steps or max(1, round(tokens / (batch * shape.context)))
    return Course(
        shape=shape,
        batch=batch,
        micro=divisor(batch, micro or batch),
        steps=steps,
        warmup=max(1, min(100, steps // 20)),
        every=max(1, -(-steps // EVALUATIONS)),
        learning_rate=learning_rate or min(3e-3, 0.6 / shape.width),
    )


def divisor(batch: int, most: int) -> int:
    """The largest micro-batch that cuts a batch into equal parts."""
    return max(d for d in range(1, min(batch, most) + 1) if batch % d == 0)


def within(course: Course, seconds: float, done: int, step_seconds: float | None) -> Course:
    """As many more steps as fit into what is left of the time, never more than the course has; 3 % stay in reserve."""
    if not step_seconds:
        return course
    steps = max(done + 1, min(course.steps, done + int(0.97 * seconds / step_seconds)))
    return msgspec.structs.replace(course, steps=steps, every=max(1, -(-steps // EVALUATIONS)))
