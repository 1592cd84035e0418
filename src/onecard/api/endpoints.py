"""bench --endpoint: measure a server from outside and hold it against the plan of the same model on this card.

Each level (so many users, prompts of one length) is a Record as soon as it is done, so a kill loses at most one level.
A server may stand on another machine: its Records teach the estimates of this card nothing.
"""

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from onecard.core.errors import OnecardError
from onecard.core.places import records_file
from onecard.core.plan import Plan
from onecard.core.record import Measurement, Record
from onecard.core.score import median
from onecard.core.served import Endpoint, Promise, Served

FORMATS = r"(i?q\d(?:_[a-z0-9]+)*|bf16|f16|fp16|f32|fp8|int8|awq|gptq)"
"""how weights are stored, as file names and tags of servers spell it"""


def bench_endpoint(
    url: str,
    *,
    model: str | None = None,
    key: str | None = None,
    like: str | None = None,
    quant: str | None = None,
    concurrency: Sequence[int] = (1, 2, 4),
    prompt_tokens: Sequence[int] = (128, 1024),
    output_tokens: int = 64,
    requests: int = 4,
    timeout: float = 120.0,
    told: Callable[[dict[str, Any]], None] = lambda level: None,
) -> Endpoint:
    """Time to first token, time between tokens and tokens per second of any OpenAI-compatible server.

    like, quant: the catalogue's name and format of what it serves, where the server's own name does not tell.
    Raises Unavailable where nothing answers; failed requests are counted in the result.
    """
    from onecard.engines.endpoint import measure
    from onecard.store import records as store

    address = _address(url)

    def done(level: Any) -> None:
        store.add(records_file(), _record(address, level.model, _served(level)))
        told(msgspec.to_builtins(level))

    name, levels = measure(
        url,
        model=model,
        key=key,
        concurrency=concurrency,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        requests=requests,
        timeout=timeout,
        told=done,
    )
    served = tuple(_served(level) for level in levels)
    answer = _planned(like or name, quant, max(prompt_tokens), output_tokens)
    rates = {} if answer is None else answer.estimate.rates
    planned = {k: (r.low, r.likely, r.high) for k, r in rates.items()}
    return Endpoint(
        url=address, model=name, levels=served, planned=planned, plan_id=answer.id if answer else "",
        like=_words(answer) if answer else "", promises=tuple(p for level in served for p in _promises(level, planned)),
    )  # fmt: skip


def _address(url: str) -> str:
    """Without a user name or a password that stands in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", url.strip())


def _served(level: Any) -> Served:
    good = [r for r in level.requests if not r.error]
    first = sorted(r.first_token for r in good if r.first_token is not None)
    between = sorted(t for r in good for t in r.between_tokens)
    counted = [float(r.counted_prompt) for r in good if r.counted_prompt]
    return Served(
        concurrency=level.concurrency,
        prompt_tokens=level.prompt_tokens,
        requests=len(level.requests),
        errors=level.errors,
        output_tokens_per_s=level.output_tokens_per_s,
        first_token=_percentiles(first),
        between_tokens=_percentiles(between),
        samples=tuple(msgspec.to_builtins(r) for r in level.requests),
        counted_prompt=round(median(counted)) if counted else None,
        refusals=dict(Counter(r.error for r in level.requests if r.error).most_common()),
    )


def _percentiles(ordered: list[float]) -> tuple[float, float, float] | None:
    """10th, 50th and 90th percentile by nearest rank."""
    if not ordered:
        return None
    at = [ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)]
    return at[0], at[1], at[2]


def _rates(level: Served) -> Iterator[tuple[str, float]]:
    """What one user got, under the names of a plan. The first token's time holds the way there and back too."""
    if level.first_token:
        yield "prefill_tokens_per_s", (level.counted_prompt or level.prompt_tokens) / level.first_token[1]
    good = [s for s in level.samples if not s.get("error")]
    speeds = [rate for s in good if (rate := _decode(s)) is not None]
    if speeds:
        yield "decode_tokens_per_s", median(speeds)


def _decode(sample: dict[str, Any]) -> float | None:
    """Tokens after the first over the time that they took: several tokens may come in one piece, so tokens are counted."""
    arrivals, tokens = sample["arrivals"], sample["output_tokens"]
    if len(arrivals) < 2 or tokens < 2 or arrivals[-1] <= arrivals[0]:
        return None
    return float((tokens - 1) / (arrivals[-1] - arrivals[0]))


def _promises(level: Served, planned: dict[str, tuple[float, float, float]]) -> Iterator[Promise]:
    if level.concurrency != 1:
        return
    for name, measured in _rates(level):
        if name in planned:
            yield Promise(
                name=name,
                measured=measured,
                predicted=planned[name],
                prompt_tokens=level.counted_prompt or level.prompt_tokens,
            )


def _record(url: str, model: str, level: Served) -> Record:
    from onecard.machine.environment import environment

    rows = [
        ("output_tokens_per_s", "tokens/s", level.output_tokens_per_s),
        ("first_token_seconds", "s", level.first_token and level.first_token[1]),
        ("between_tokens_seconds", "s", level.between_tokens and level.between_tokens[1]),
    ]
    times = [float(t) for s in level.samples for t in s["arrivals"][:1]]  # type: ignore[index]
    settings = {
        "model": model, "url": url, "concurrency": level.concurrency, "prompt_tokens": level.prompt_tokens,
    }  # fmt: skip
    return Record(
        id=secrets.token_hex(5),
        kind="bench",
        plan={"workload": "endpoint", "settings": settings, "device": {"name": "a server", "kind": "unknown"}},
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=max((float(s["seconds"]) for s in level.samples), default=0.0),  # type: ignore[arg-type]
        outcome="ok" if level.errors < level.requests else "failed",
        requested=settings,
        effective={"prompt_tokens": level.counted_prompt} if level.counted_prompt else {},
        environment=environment(),
        measurements=tuple(
            Measurement(name=name, unit=unit, predicted=None, measured=value) for name, unit, value in rows
        ),
        samples={"first_token_seconds": times},
        quality={"requests": level.requests, "errors": level.errors},
        error="; ".join(f"{count} x {text}" for text, count in level.refusals.items()),
    )


def _planned(name: str, quant: str | None, prompt: int, output: int) -> Plan | None:
    """What this card promises for the model, where the server's name for it is one that we know."""
    from onecard.api.plans import plan

    for model, found in spellings(name):
        wanted = quant or found
        given: dict[str, Any] = {"quant": wanted} if wanted else {}
        try:
            return plan("chat", model=model, prompt_tokens=prompt, output_tokens=output, **given)
        except OnecardError:
            continue
    return None


def spellings(name: str) -> Iterator[tuple[str, str]]:
    """(model, quant) that a server's name may mean, most telling first: a path, a GGUF file, an Ollama tag, owner/name."""
    last = re.split(r"[/\\]", name)[-1]
    stem = re.sub(r"(\.gguf|-gguf|:latest)$", "", last, flags=re.IGNORECASE)
    found = re.search(rf"[-_.:]{FORMATS}$", stem, re.IGNORECASE)
    quant = found[1].lower() if found else ""
    bare = stem[: found.start()] if found else stem
    short = re.sub(r"^meta-", "", bare, flags=re.IGNORECASE)
    plain = re.sub(r"[-:](instruct|chat|it)$", "", short, flags=re.IGNORECASE)
    seen = set()
    for model in (bare, short, plain, plain.replace(":", "-"), name):
        # A name with a slash may ask the hub; a bare one never does.
        if model and model not in seen:
            seen.add(model)
            yield model, {"f16": "f16", "fp16": "f16"}.get(quant, quant)


def _words(answer: Plan) -> str:
    return " ".join(str(answer.settings[k]) for k in ("model", "quant") if answer.settings.get(k))
