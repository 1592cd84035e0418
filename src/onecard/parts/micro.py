"""Smaller micro-batches and gradient checkpointing: what every training run can give up without changing its meaning."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from onecard.core.cost import Cost
from onecard.core.plan import Choice, Rung

EVERYWHERE = ("build", "train", "evaluate", "write", "save", "export")


def micro_choices(settings: Any, held: Callable[[Any], Cost]) -> tuple[Choice, ...]:
    """Choices for a Settings with batch, micro_batch and checkpointing. held: Settings -> Cost, operations or not.

    A smaller micro-batch is offered only where it needs less: the sum of the gradients that then lies beside the
    activations can outweigh what a small net saves.
    """

    @cache
    def peak(micro: int, again: bool) -> float:
        tried = msgspec.structs.replace(settings, micro_batch=micro, checkpointing=again)
        return max(p.memory().high for p in held(tried).phases)

    found = []
    if settings.micro_batch is None:
        sizes = [settings.batch]
        least = {again: peak(sizes[0], again) for again in (False, True)}
        for micro in (d for d in range(settings.batch - 1, 0, -1) if settings.batch % d == 0):
            now = {again: peak(micro, again) for again in (False, True)}
            if all(now[again] <= least[again] for again in now):
                sizes.append(micro)
                least = now
        harms = tuple(0.02 * i for i in range(len(sizes)))
        why = "the same batch in more, smaller parts: slower where these do not fill the device"
        found.append(Choice(setting="micro_batch", options=tuple(sizes), harms=harms, why=why))
    if settings.checkpointing is None and all(
        peak(m, True) <= peak(m, False) for m in {1, settings.micro_batch or settings.batch}
    ):
        why = "a third more arithmetic"
        found.append(Choice(setting="checkpointing", options=(False, True), harms=(0.0, 0.4), why=why))
    return tuple(found)


def micro_ladder(settings: Any, micro: int) -> tuple[Rung, ...]:
    """Rungs for a Settings with batch, checkpointing, shorter and length. micro: rows computed at once now."""
    rungs = []
    while micro > 1:
        micro = max(d for d in range(1, micro) if settings.batch % d == 0 and d <= max(1, micro // 2))
        why = f"{settings.batch // micro} micro-batches of {micro} make the same batch of {settings.batch}"
        rungs.append(Rung(changed={"micro_batch": micro}, phases=EVERYWHERE, why=why))
    if not settings.checkpointing:
        why = "activations are computed again"
        rungs.append(Rung(changed={"checkpointing": True}, phases=("train", "save", "export"), why=why))
    if settings.shorter and settings.length >= 8:
        why = "half the length, as `shorter` allows: this changes what the net sees"
        rungs.append(Rung(changed={"length": settings.length // 2}, phases=EVERYWHERE, why=why))
    return tuple(rungs)
