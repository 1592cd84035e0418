"""onecard bench: what this device reaches against its own ceiling; --endpoint URL measures a server instead."""

from typing import Any

import click

from onecard.cli.options import JSON, echo_json
from onecard.core.units import parse_duration


@click.command(params=[JSON])
@click.option("--quick", is_flag=True, help="the short form, under three minutes")
@click.option("--fresh", is_flag=True, help="start over instead of continuing an unfinished bench")
@click.option("--endpoint", metavar="URL", help="measure this OpenAI-compatible server: http://127.0.0.1:8000/v1")
@click.option(
    "--nim",
    metavar="MODEL",
    help="would an NVIDIA NIM container of this model start here? Prints the command, runs nothing",
)
@click.option("--on", help="with --nim: another card by name")
@click.option("--model", help="model name that the server knows; without it its first one")
@click.option("--key", envvar="OPENAI_API_KEY", help="key of the server [environment: OPENAI_API_KEY]")
@click.option("--concurrency", default="1,2,4", help="users at the same time, comma-separated  [default: 1,2,4]")
@click.option("--prompt-tokens", default="128,1024", help="prompt lengths, comma-separated  [default: 128,1024]")
@click.option("--output-tokens", default=64, type=click.IntRange(min=1), help="tokens of each answer  [default: 64]")
@click.option(
    "--requests", default=4, type=click.IntRange(min=1), help="of each user, for each prompt length  [default: 4]"
)
@click.option("--timeout", default="120s", help="longest that one request may take  [default: 120s]")
@click.option("--like", metavar="MODEL", help="catalogue name of what the server serves, to compare it with a plan")
@click.option("--quant", help="with --like: the format of its weights")
def command(
    as_json: bool,
    quick: bool,
    fresh: bool,
    endpoint: str | None,
    nim: str | None,
    on: str | None,
    model: str | None,
    key: str | None,
    concurrency: str,
    prompt_tokens: str,
    output_tokens: int,
    requests: int,
    timeout: str,
    like: str | None,
    quant: str | None,
) -> int:
    """Measure this device, or a server."""
    if nim:
        return _nim(nim, on, as_json)
    if endpoint:
        asked = {
            "model": model, "key": key, "like": like, "quant": quant, "requests": requests, "output_tokens": output_tokens,
            "concurrency": _numbers(concurrency), "prompt_tokens": _numbers(prompt_tokens),
            "timeout": parse_duration(timeout),
        }  # fmt: skip
        return _server(endpoint, asked, as_json)
    from onecard.api import bench, device
    from onecard.cli.steps import step_line

    scores = bench(quick=quick, fresh=fresh, told=step_line)
    if as_json:
        echo_json(scores)
    else:
        from onecard.show.bench import score_card
        from onecard.show.console import show

        show(score_card(device().name, scores))
    return 0


def _nim(model: str, on: str | None, as_json: bool) -> int:
    from onecard.api import nim_preflight

    answer = nim_preflight(model, on=on)
    if as_json:
        echo_json(answer)
    else:
        from onecard.show.console import show
        from onecard.show.preflight import preflight_view

        show(preflight_view(answer))
        click.echo(answer.command)
        click.secho("then: onecard bench --endpoint http://127.0.0.1:8000/v1", dim=True)
    return 0 if answer.ready else 1


def _numbers(text: str) -> tuple[int, ...]:
    from onecard.core.errors import BadSetting

    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise BadSetting(f'"{text}" is not a list of positive numbers', next="write it like 1,2,4")
    return numbers


def _server(url: str, asked: dict[str, Any], as_json: bool) -> int:
    from onecard.api import bench_endpoint

    def told(level: dict[str, Any]) -> None:
        click.echo(f"  {level['concurrency']} users, prompt {level['prompt_tokens']}: done", err=True)

    answer = bench_endpoint(url, told=told, **asked)
    if as_json:
        echo_json(answer)
    else:
        from onecard.show.console import show
        from onecard.show.endpoint import endpoint_view

        show(endpoint_view(answer))
    return 1 if answer.errors == answer.requests else 0
