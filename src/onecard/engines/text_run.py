"""The training loop of text nets: classify-text, translate and summarise run, prove and trace these same steps.

Everything random in a step (dropout) follows from (seed, step), as its rows do: a run that was killed and resumed ends
with the same weights to the bit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from onecard.core.errors import BadSetting
from onecard.core.session import Session
from onecard.engines import checkpoint
from onecard.engines.course import LossLog, Watch, learning_rate
from onecard.parts.epochs import Epochs

_SAVE_EVERY = 120.0
"""seconds without a checkpoint after which one is made between evaluations"""

Batch = list[tuple[dict[str, Any], float]]
"""Micro-batches of one step: (inputs of the net with labels, share of the step's loss); shares sum to 1"""


@dataclass
class State:
    """A training step's world."""

    net: Any
    optimizer: Any
    course: Epochs
    batch: Callable[[int], Batch]
    bf16: bool
    step: int = 0


def new_state(net: Any, course: Epochs, batch: Callable[[int], Batch], *, weight_decay: float, bf16: bool) -> State:
    """Net and its AdamW; norms and biases are not pulled towards zero. bf16: forward passes under autocast."""
    import torch

    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=course.learning_rate, betas=(0.9, 0.999), fused=True)
    return State(net=net, optimizer=optimizer, course=course, batch=batch, bf16=bf16)


def arithmetic(state: State) -> Any:
    """The context of a forward pass: bf16 autocast or nothing."""
    import torch

    device = next(state.net.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=state.bf16)


def step(state: State) -> Any:
    """One optimizer step over all micro-batches; returns the mean loss (a tensor, so that nothing has to wait)."""
    import torch

    course = state.course
    rate = learning_rate(state.step, steps=course.steps, warmup=course.warmup, peak=course.learning_rate, floor=0.0)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(course.seed * 1_000_003 + state.step)
    total = 0.0
    for inputs, share in state.batch(state.step):
        with arithmetic(state):
            loss = state.net(**inputs, use_cache=False).loss if state.net.config.is_encoder_decoder else None
            loss = (state.net(**inputs).loss if loss is None else loss) * share
        loss.backward()
        total = total + loss.detach()
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return total


def evaluate(state: State, parts: Iterable[tuple[dict[str, Any], float]], see: Callable[[Any], None]) -> float:
    """Mean loss over held-out parts (inputs, rows or tokens of it); `see` is shown the logits of each."""
    import torch

    state.net.eval()
    total, weight = 0.0, 0.0
    with torch.no_grad(), arithmetic(state):
        for inputs, size in parts:
            found = state.net(**inputs)
            total, weight = total + float(found.loss) * size, weight + size
            see(found.logits)
    state.net.train()
    return total / weight


def restore(session: Session, state: State) -> int:
    """Go on at the last whole checkpoint; its step, 0 where there is none. Raises BadSetting for another net's."""
    found = checkpoint.load(session.folder, device=session.device)
    if found is None:
        return 0
    made, saved = found
    if told := checkpoint.passed_over(session.folder, made):
        session.emit("log", text=told)
    try:
        state.net.load_state_dict(saved["net"])
    except RuntimeError as error:
        raise BadSetting(
            f"the checkpoint of step {made.step} is of another net",
            why=str(error).strip().splitlines()[-1].strip(),
            next="resume with the settings it was started with, or start a new run",
        ) from None
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step = saved["step"]
    return state.step


def train(session: Session, state: State, settings: dict[str, Any], judge: Callable[[], dict[str, float]]) -> LossLog:
    """To the last step, evaluating and saving on the way; then the best net is put back. judge: figures of quality now.

    The phases train, evaluate and save are marked; `judge` runs inside evaluate.
    """
    watch = Watch(float("inf"))
    course = state.course
    log = LossLog(session, unit="rows", units_per_step=course.batch, flops_per_step=0.0, peak=0.0)

    def look() -> dict[str, float]:
        with session.phase("evaluate"):
            figures = judge()
        session.emit("validation", step=state.step, **figures)
        shown = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in figures.items())
        session.emit("log", text=f"step {state.step}: {shown}", step=state.step)
        return figures

    def save(figures: dict[str, float]) -> None:
        with session.phase("save"):
            content = {
                "net": state.net.state_dict(),
                "optimizer": state.optimizer.state_dict(),
                "step": state.step,
            }
            checkpoint.save(session.folder, state.step, content, settings, figures)
        watch.saved()
        log.pause()

    with session.phase("train"):
        if state.step == 0:
            save(look())
        while state.step < course.steps and not session.stopping:
            loss = step(state)
            log.step(state.step, state.optimizer.param_groups[0]["lr"], loss, course.steps)
            if state.step % course.every == 0 and state.step < course.steps:
                log.look(course.steps)
                save(look())
            elif watch.unsaved > _SAVE_EVERY:
                log.look(course.steps)
                save({})
        log.look(course.steps)
        last = checkpoint.last(session.folder)
        if last is None or last.step != state.step or "validation_loss" not in last.figures:
            save(look())
    if log.step_seconds:
        session.measured("train_rows_per_s", course.batch / log.step_seconds, "rows/s")
    top = checkpoint.best(session.folder)
    if top is not None and top.step != state.step and not session.stopping:
        found = checkpoint.load(session.folder, device=session.device, step=top.step)
        if found is not None:
            state.net.load_state_dict(found[1]["net"])
    return log
