"""bench --endpoint: measure a server from outside and hold it against the plan of the same model on this card."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from onecard.core.errors import OnecardError
from onecard.core.served import Endpoint, Served


def bench_endpoint(
    url: str,
    *,
    model: str | None = None,
    key: str | None = None,
    concurrency: Sequence[int] = (1, 2, 4),
    prompt_tokens: Sequence[int] = (128, 1024),
    output_tokens: int = 64,
    requests: int = 4,
    told: Callable[[dict[str, Any]], None] = lambda level: None,
) -> Endpoint:
    """Time to first token, time between tokens and tokens per second of any OpenAI-compatible server.

    Raises Unavailable where nothing answers; failed requests are counted in the result.
    """
    from onecard.engines.endpoint import measure

    name, levels = measure(
        url,
        model=model,
        key=key,
        concurrency=concurrency,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        requests=requests,
        told=lambda level: told(msgspec.to_builtins(level)),
    )
    planned, plan_id = _planned(name, max(prompt_tokens), output_tokens)
    return Endpoint(
        url=url, model=name, levels=tuple(_served(level) for level in levels), planned=planned, plan_id=plan_id
    )


def _served(level: Any) -> Served:
    good = [r for r in level.requests if not r.error]
    first = sorted(r.first_token for r in good if r.first_token is not None)
    between = sorted(t for r in good for t in r.between_tokens)
    return Served(
        concurrency=level.concurrency,
        prompt_tokens=level.prompt_tokens,
        requests=len(level.requests),
        errors=level.errors,
        output_tokens_per_s=level.output_tokens_per_s,
        first_token=_percentiles(first),
        between_tokens=_percentiles(between),
        samples=tuple(msgspec.to_builtins(r) for r in level.requests),
    )


def _percentiles(ordered: list[float]) -> tuple[float, float, float] | None:
    """10th, 50th and 90th percentile by nearest rank."""
    if not ordered:
        return None
    at = [ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)]
    return at[0], at[1], at[2]


def _planned(name: str, prompt: int, output: int) -> tuple[dict[str, tuple[float, float, float]], str]:
    """What this card promises for the model, where the server's name for it is one that we know."""
    from onecard.api.plans import plan

    try:
        answer = plan("chat", model=name, prompt_tokens=prompt, output_tokens=output)
    except OnecardError:
        return {}, ""
    return {k: (r.low, r.likely, r.high) for k, r in answer.estimate.rates.items()}, answer.id
