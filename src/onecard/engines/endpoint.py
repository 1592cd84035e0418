"""Measure any OpenAI-compatible server: time to first token, time between tokens, tokens per second, errors.

What a person feels of a server is not one number. The first token waits for the queue and the prefill; each further one
for a decode step shared with the others; so every request is timed token by token, at several concurrencies and prompt
lengths, and the raw times are kept. Works with llama-server, Ollama, vLLM, LM Studio, NVIDIA NIM and our own --serve.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from onecard.core.errors import Unavailable
from onecard.core.require import require

WORDS = ("the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with")
"""Common English words are one token in nearly every vocabulary, so n words are about n tokens."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it was seen from outside; seconds since it was sent."""

    concurrency: int
    prompt_tokens: int
    arrivals: tuple[float, ...]
    """arrival of each streamed piece of text"""
    output_tokens: int
    """as the server counts them (usage), else the number of pieces"""
    seconds: float
    error: str = ""

    @property
    def first_token(self) -> float | None:
        """Seconds to the first token; None where none came."""
        return self.arrivals[0] if self.arrivals else None

    @property
    def between_tokens(self) -> tuple[float, ...]:
        """Seconds between neighbouring pieces."""
        return tuple(b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False))


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """All requests of one concurrency and prompt length."""

    concurrency: int
    prompt_tokens: int
    requests: tuple[Request, ...]
    seconds: float
    """wall time from the first request sent to the last answer"""

    @property
    def errors(self) -> int:
        return sum(1 for r in self.requests if r.error)

    @property
    def output_tokens_per_s(self) -> float | None:
        """All output tokens of the level over its wall time: the throughput of the server."""
        tokens = sum(r.output_tokens for r in self.requests if not r.error)
        return tokens / self.seconds if tokens and self.seconds > 0 else None


def measure(
    url: str,
    *,
    model: str | None = None,
    key: str | None = None,
    concurrency: Sequence[int] = (1, 2, 4),
    prompt_tokens: Sequence[int] = (128, 1024),
    output_tokens: int = 64,
    requests: int = 4,
    timeout: float = 120.0,
    told: Callable[[Level], None] = lambda level: None,
) -> tuple[str, list[Level]]:
    """(model, levels): every pair of concurrency and prompt length, `requests` requests for each of the concurrent users.

    One request warms the server up and is not counted. `told` gets each level when it is done, so that a later failure
    loses nothing. Raises Unavailable where the server does not answer at all; a failed request is counted, not raised.
    """
    require("httpx", "to speak to a server", "bench")
    return asyncio.run(
        _measure(_base(url), model, key, concurrency, prompt_tokens, output_tokens, requests, timeout, told)
    )


def _base(url: str) -> str:
    base = url.rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"


async def _measure(
    base: str,
    model: str | None,
    key: str | None,
    concurrency: Sequence[int],
    prompt_tokens: Sequence[int],
    output_tokens: int,
    requests: int,
    timeout: float,
    told: Callable[[Level], None],
) -> tuple[str, list[Level]]:
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=max(concurrency) + 1)
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=timeout, limits=limits) as client:
        name = model or await _first_model(client, base)
        warm = await _request(client, name, 1, 16, 8, seed=0)
        if warm.error and not warm.arrivals:
            raise Unavailable(f"{base} did not answer a chat request for {name}", why=warm.error, next="onecard doctor")
        levels = []
        for length in prompt_tokens:
            for users in concurrency:
                level = await _level(client, name, users, length, output_tokens, requests)
                told(level)
                levels.append(level)
        return name, levels


async def _first_model(client: Any, base: str) -> str:
    import httpx

    try:
        answer = await client.get("/models")
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as error:
        raise Unavailable(
            f"no OpenAI-compatible server answers at {base}",
            why=f"{type(error).__name__}: {error}",
            next="start one (onecard run chat --serve) or check the address; the path ends in /v1",
        ) from None


async def _level(client: Any, model: str, users: int, length: int, output: int, requests: int) -> Level:
    async def user(number: int) -> list[Request]:
        # Each prompt differs from its first words on: a prompt cache would otherwise answer for the prefill.
        return [
            await _request(client, model, users, length, output, seed=number * requests + i) for i in range(requests)
        ]

    start = time.perf_counter()
    done = await asyncio.gather(*(user(n) for n in range(users)))
    seconds = time.perf_counter() - start
    return Level(concurrency=users, prompt_tokens=length, requests=tuple(r for rs in done for r in rs), seconds=seconds)


async def _request(client: Any, model: str, users: int, length: int, output: int, *, seed: int) -> Request:
    import httpx

    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(length, seed)}],
        "max_tokens": output,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,  # llama-server and vLLM honour it, others ignore it
    }
    arrivals: list[float] = []
    tokens = 0
    error = ""
    start = time.perf_counter()
    try:
        async with client.stream("POST", "/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode(errors="replace")
                error = f"HTTP {answer.status_code}: {text[:200]}"
            else:
                async for piece in _pieces(answer):
                    usage = piece.get("usage") or {}
                    tokens = int(usage.get("completion_tokens") or tokens)
                    if any(_text(choice) for choice in piece.get("choices") or ()):
                        arrivals.append(time.perf_counter() - start)
    except (httpx.HTTPError, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Request(
        concurrency=users,
        prompt_tokens=length,
        arrivals=tuple(arrivals),
        output_tokens=tokens or len(arrivals),
        seconds=time.perf_counter() - start,
        error=error or ("" if arrivals else "the answer held no text"),
    )


def _text(choice: dict[str, Any]) -> str:
    delta = choice.get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning_content") or "")


async def _pieces(answer: Any) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            text = line[5:].strip()
            if text == "[DONE]":
                return
            yield json.loads(text)


def prompt(tokens: int, seed: int) -> str:
    """About `tokens` tokens of text; another seed gives another text from the first word on."""
    start = (seed * 7 + 3) % len(WORDS)
    words = [f"{seed}:"] + [WORDS[(start + i * (1 + seed % 5)) % len(WORDS)] for i in range(max(1, tokens - 2))]
    return " ".join(words)
