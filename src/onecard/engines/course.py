"""What training loops share besides the loop itself: the learning rate's course, the log of losses, rates and time left.

The loop stays in each workload, explicit and complete; here is only what would be copied word by word.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

from onecard.core.session import Session


def learning_rate(step: int, *, steps: int, warmup: int, peak: float, floor: float = 0.1) -> float:
    """Linear up over `warmup` steps, then half a cosine down to floor x peak at the last step (step counts from 0)."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Watch:
    """The time of a run, over all its restarts: how much is spent, when it was last saved, when it is over."""

    def __init__(self, limit: float) -> None:
        """limit: seconds that the whole run may take."""
        self.limit = limit
        self.reserve = 0.0
        """seconds that evaluations and the end of the run will still take"""
        self.start = time.perf_counter()
        self._saved = self.start

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    @property
    def over(self) -> bool:
        return self.elapsed > self.limit

    def saved(self) -> None:
        """A checkpoint was made now."""
        self._saved = time.perf_counter()

    @property
    def unsaved(self) -> float:
        """Seconds of work that a kill would take away now."""
        return time.perf_counter() - self._saved


class LossLog:
    """Losses stay on the device until somebody looks, so that no step waits for the one before it.

    Every step's loss ends up in metrics.jsonl, one line a step; a resumed run appends, and of two lines for one step the later counts.
    """

    LOOK_EVERY = 0.5
    """seconds"""

    def __init__(
        self, session: Session, *, unit: str, units_per_step: float, flops_per_step: float, peak: float
    ) -> None:
        """flops_per_step: of the model (for MFU); peak: FLOP/s of a large matmul on this device, 0 where unknown."""
        self.session, self.unit, self.units_per_step = session, unit, units_per_step
        self.flops_per_step, self.peak = flops_per_step, peak
        self.file = session.folder / "metrics.jsonl"
        self.seconds: list[float] = []
        """of each step, on the clock of the device: a look waits for the steps before it"""
        self._waiting: list[tuple[int, float, Any]] = []
        self._looked = time.perf_counter()

    def step(self, number: int, rate: float, loss: Any, steps: int) -> None:
        """Note the loss (a tensor of one element) of a step that ended; number counts from 1."""
        self._waiting.append((number, rate, loss))
        if time.perf_counter() - self._looked >= self.LOOK_EVERY or number >= steps:
            self.look(steps)

    def look(self, steps: int) -> None:
        """Fetch what waits, write it down and move the bar."""
        if not self._waiting:
            return
        import torch

        values = torch.stack([loss.detach().float() for _, _, loss in self._waiting]).tolist()
        now = time.perf_counter()
        each = (now - self._looked) / len(values)
        self.seconds.extend([each] * len(values))
        with self.file.open("a", encoding="utf-8") as out:
            for (number, rate, _), value in zip(self._waiting, values, strict=True):
                line = {"step": number, "loss": value, "learning_rate": rate, "seconds": each}
                out.write(json.dumps(line) + "\n")
        self.session.emit("sample", values={"loss": sum(values) / len(values)})
        number, _, _ = self._waiting[-1]
        self._waiting.clear()
        self._looked = now
        per_second = self.units_per_step / each
        self.session.progress(
            number,
            steps,
            "steps",
            loss=round(values[-1], 4),
            **{f"{self.unit}_per_s": round(per_second, 1)},
            **({"mfu": round(self.flops_per_step / each / self.peak, 4)} if self.peak else {}),
            seconds_left=round((steps - number) * each, 1),
        )

    def pause(self) -> None:
        """What happened since the last look (an evaluation, a checkpoint) is not training time."""
        self._looked = time.perf_counter()

    @property
    def step_seconds(self) -> float | None:
        """Median of the steps seen in this process, without the first ones (they compile, allocate and tune)."""
        settled = sorted(self.seconds[5:] or self.seconds)
        return settled[len(settled) // 2] if settled else None


def losses(folder: Path) -> dict[int, float]:
    """Step -> loss from a run's metrics.jsonl; half a line at the end, left by a kill, is passed over."""
    file = folder / "metrics.jsonl"
    found: dict[int, float] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "loss" in entry:
            found[entry["step"]] = entry["loss"]
    return found


def matmul_rate(device: str, dtype: Any, *, side: int = 2048, seconds: float = 0.2) -> float:
    """FLOP/s of a large square matmul on this device in this type: the ceiling that MFU is held against."""
    import torch

    if device == "cpu":
        side = 1024
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    a @ b
    wait()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        wait()
        best = max(best, 2.0 * side**3 / (time.perf_counter() - start))
    return best
