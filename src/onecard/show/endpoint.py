"""A measured server as a table: what one user feels, and what all of them get together."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onecard.core.ranges import Range
from onecard.core.served import Endpoint
from onecard.core.units import show_rate, show_seconds
from onecard.show.text import rate_range, rate_unit


def endpoint_view(answer: Endpoint) -> RenderableType:
    """One line a level; 10th to 90th percentile in brackets."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("users", "prompt", "time to first token", "between tokens", "all together", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for level in answer.levels:
        rate = level.output_tokens_per_s
        table.add_row(
            str(level.concurrency),
            f"{level.prompt_tokens:,}",
            _seconds(level.first_token),
            _seconds(level.between_tokens),
            "" if rate is None else show_rate(rate, "tok/s"),
            Text(f"{level.errors} of {level.requests}", "red" if level.errors else "dim"),
        )
    lines: list[RenderableType] = [Text.assemble((answer.model, "bold"), f" at {answer.url}"), table]
    for level in answer.levels:
        for text, count in level.refusals.items():
            lines.append(Text(f"  {level.concurrency} users, prompt {level.prompt_tokens:,}: {count} x {text}", "red"))
    return Group(*lines, Text(), *_against(answer))


def _against(answer: Endpoint) -> list[RenderableType]:
    """One user's rates beside the plan of the same model on this card."""
    if not answer.planned:
        text = "this name is none of the catalogue's: --like NAME (and --quant) compares it with a plan"
        return [Text(text, "dim")]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("one user", "prompt", "measured", "plan", ""):
        table.add_column(heading, justify="right" if heading in ("prompt", "measured") else "left", no_wrap=True)
    for promise in answer.promises:
        phase, unit = rate_unit(promise.name)
        style = "yellow" if promise.place == "slower" else "green"
        table.add_row(
            phase, f"{promise.prompt_tokens:,}", show_rate(promise.measured, unit),
            rate_range(Range(*promise.predicted), unit), Text(promise.place, style),
        )  # fmt: skip
    head = Text(f"against plan {answer.plan_id}: {answer.like} on this card (--like, --quant name another)", "dim")
    return [head, table]


def _seconds(values: tuple[float, float, float] | None) -> str:
    if values is None:
        return ""
    low, middle, high = values
    return f"{show_seconds(middle)} ({show_seconds(low)} to {show_seconds(high)})"
