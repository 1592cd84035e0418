"""What a person sees while a run goes on: its phase, a bar with the time that is left, and the figures beside it.

Everything goes to standard error, so that standard output holds the answer alone (and --json stays JSON).
"""

from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from onecard.core.estimate import Estimate
from onecard.show.plan import in_all
from onecard.show.text import size_range

_PHASES = {
    "load": "loading the model",
    "warm_up": "warming up",
    "prefill": "reading prompts (prefill)",
    "decode": "writing tokens (decode)",
    "build": "building the model",
    "step": "measuring steps",
}


def _promise(estimate: dict[str, Any]) -> str:
    """What was predicted before anything was measured: peak, time and energy of the whole training."""
    found = msgspec.convert(estimate, Estimate)
    return f"predicted: peak {size_range(found.memory.peak_bytes)}; in all {in_all(found)}"


class Live:
    """A callback for the events of a run; use it in a `with`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._steps = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[shown]}", style="dim"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._bytes = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: Any = None
        self._file: Any = None

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.stop()
        self._bytes.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "phase":
            self._begin(_PHASES.get(event["name"], event["name"].replace("_", " ")))
        elif kind == "progress" and event["unit"] == "bytes":
            self._write(event)
        elif kind == "progress":
            self._advance(event)
        elif kind == "log":
            self.console.print(event["text"])
        elif kind == "begin" and event["kind"] != "prove" and "train" in event["plan"]["estimate"]["time"]:
            self.console.print(_promise(event["plan"]["estimate"]), style="dim")
        elif kind == "rung":
            self.console.print(f"out of memory: {event.get('why', '')}", style="yellow")

    def _begin(self, name: str) -> None:
        self._bytes.stop()
        if self._task is not None:
            self._steps.remove_task(self._task)
        self._task = self._steps.add_task(name, total=None, count="", shown="")
        self._steps.start()

    def _write(self, event: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self._bytes.add_task(event["shown"].get("doing", "writing"), total=event["of"])
            self._bytes.start()
        self._bytes.update(self._file, completed=event["done"])

    def _advance(self, event: dict[str, Any]) -> None:
        if self._task is None:
            self._begin("running")
        of = event["of"]
        count = f"{event['done']:,.0f}" + (f" of {of:,.0f}" if of else "") + f" {event['unit']}"
        shown = "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in event["shown"].items()
            if isinstance(v, int | float)
        )
        self._steps.update(self._task, completed=event["done"], total=of, count=count, shown=shown)
