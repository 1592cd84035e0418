"""What a Trainer tells while it runs, passed on to a Session: losses, rates, the time that is left; and when to stop."""

import json
import time
from typing import Any

from onecard.core.session import Session


def told_to(session: Session, recipe: Any) -> Any:
    """A TrainerCallback. Built here, since its class exists only where transformers does."""
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        """Steps, losses and Ctrl-C."""

        def __init__(self) -> None:
            self.begun = 0.0
            self.seconds: list[float] = []
            self.tokens: list[int] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            _wait(session.device)
            self.seconds.append(time.perf_counter() - self.begun)
            if session.stopping:
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:
                return
            step, settled = state.global_step, sorted(self.seconds[2:] or self.seconds)
            line = {"step": step, "loss": logs["loss"], "learning_rate": logs.get("learning_rate")}
            with (session.folder / "metrics.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")
            session.emit("sample", values={"loss": logs["loss"]})
            each = settled[len(settled) // 2] if settled else 0.0
            left = (recipe.steps - step) * each
            session.progress(step, recipe.steps, "steps", loss=round(logs["loss"], 4), seconds_left=round(left, 1))

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            loss = (metrics or {}).get("eval_loss")
            if loss is not None:
                session.emit("validation", step=state.global_step, loss=loss)
                session.emit("log", text=f"step {state.global_step}: validation loss {loss:.4f}")

    return Told()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
