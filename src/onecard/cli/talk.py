"""A conversation in the terminal: asks, streams the answer, and says how fast it was against the plan."""

import importlib
import sys
from contextlib import suppress
from typing import Any

import click

from onecard.cli.live import Live
from onecard.core.units import show_rate


class Talk:
    """A callback for the events of `run`: bars while the model loads, then turns."""

    def __init__(self, live: Live, *, quiet: bool) -> None:
        self.live, self.quiet = live, quiet
        self.promise: list[float] | None = None
        self.planned_layers: int | None = None
        self.talked = False
        self.open_line = False
        """whether the cursor stands behind something: a prompt without an answer, a broken-off text"""
        self.codes: list[int] = []

    def __call__(self, event: dict[str, Any]) -> dict[str, Any] | None:
        kind = event["event"]
        if kind == "begin":
            self.promise = event["plan"]["estimate"]["rates"].get("decode_tokens_per_s")
            self.planned_layers = event["plan"]["settings"].get("n_gpu_layers")
        elif kind == "effective":
            self._placed(event["settings"])
        elif kind == "turn":
            return self._ask()
        if kind == "text":
            self._text(event["text"])
        elif kind == "answered":
            self._answered(event)
        elif kind == "serving":
            self._serving(event)
        elif kind == "result":
            self.codes.append(event.get("exit_code", 0))
        elif not self.talked:
            self.live(event)
        return None

    def _ask(self) -> dict[str, Any]:
        self.live.__exit__()
        if not self.talked and sys.stdin.isatty():
            click.secho("Type your message; /bye or an empty Ctrl-D ends.", dim=True, err=True)
        self.talked = True
        with suppress(ImportError):
            importlib.import_module("readline")  # arrows and history at the prompt, where the system has it
        while True:
            self.open_line = sys.stdin.isatty()
            try:
                text = input(">>> " if sys.stdin.isatty() else "")
            except EOFError:
                return {"end": True}
            self.open_line = False
            if text.strip() == "/bye":
                return {"end": True}
            if text.strip():
                return {"say": text}

    def _placed(self, effective: dict[str, Any]) -> None:
        """Silent spilling is hated more than failure: say it when layers are not where the plan has them."""
        done, of = effective.get("layers_on_device"), effective.get("layers")
        if done is None or of is None or done >= of:
            return
        line = f"{done} of {of} layers are on the device, the others run on the host"
        planned = self.planned_layers is not None and done >= self.planned_layers
        self.live.__exit__()
        click.secho(f"{line}, as planned" if planned else f"SPILLED: {line}", fg=None if planned else "red", err=True)

    def _text(self, text: str) -> None:
        if not self.talked:
            self.live.__exit__()
            self.talked = True
        if not self.quiet:
            click.echo(text, nl=False)
            self.open_line = not text.endswith("\n")

    def _answered(self, event: dict[str, Any]) -> None:
        if not self.quiet:
            click.echo()
            self.open_line = False
        rate = event.get("decode_tokens_per_s")
        if rate is None or self.quiet:
            return
        line = f"[{event['output_tokens']} tokens, {show_rate(rate, 'tok/s')}"
        if self.promise is not None:
            line += f"; planned {show_rate(self.promise[0], '').strip()} to {show_rate(self.promise[2], 'tok/s')}"
        click.secho(line + "]", dim=True, err=True)
        if self.promise is not None and rate < self.promise[0]:
            click.secho(
                "slower than the plan's range: onecard doctor looks for the reason "
                "(another program on the device, memory spilled to the host, a power or heat limit)",
                fg="yellow",
                err=True,
            )

    def _serving(self, event: dict[str, Any]) -> None:
        self.live.__exit__()
        self.talked = True
        address = event["address"]
        click.echo(f"serving {event['model']} at {address}/v1   (Ctrl-C ends)")
        click.echo(f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json' \\")
        click.echo("""    -d '{"messages": [{"role": "user", "content": "Hello"}]}'""")
