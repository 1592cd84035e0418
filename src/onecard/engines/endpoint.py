"""Measure any OpenAI-compatible server: time to first token, time between tokens, tokens per second, errors.

What a person feels of a server is not one number. The first token waits for the queue and the prefill; each further one
for a decode step shared with the others; so every request is timed token by token, at several concurrencies and prompt
lengths, and the raw times are kept. Works with llama-server, Ollama, vLLM, LM Studio, NVIDIA NIM and our own --serve.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from onecard.core.errors import BadSetting, Unavailable
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
    counted_prompt: int | None = None
    """tokens of the prompt as the server counts them; None where it does not say"""
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
    model: str = ""
    """as the server calls it"""

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
    loses nothing. timeout: seconds that one request may take from first to last byte, so that a server which stalls or
    trickles cannot hold the measurement up. Raises BadSetting for what is no address, and Unavailable where the server does
    not answer at all or wants another key; a failed request is counted, not raised.
    """
    require("httpx", "to speak to a server", "bench")
    return asyncio.run(
        _measure(_base(url), model, key, concurrency, prompt_tokens, output_tokens, requests, timeout, told)
    )


def _base(url: str) -> str:
    import httpx

    base = url.strip().rstrip("/")
    try:
        parts = httpx.URL(base)
    except httpx.InvalidURL:
        parts = httpx.URL("")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadSetting(f'"{url}" is no address of a server', next="write it like http://127.0.0.1:8000/v1")
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
        ask = await _understood(client, base, name, timeout)
        levels = []
        for length in prompt_tokens:
            for users in concurrency:
                level = await _level(ask, users, length, output_tokens, requests)
                level = msgspec.structs.replace(level, model=name)
                told(level)
                levels.append(level)
        return name, levels


EXTRAS: dict[str, Any] = {
    "ignore_eos": True,  # llama-server and vLLM honour it, most others ignore it
    "stream_options": {"include_usage": True},
}
"""asked for beyond the oldest form of the interface; a strict server refuses what it does not know (400 or 422)"""


async def _understood(client: Any, base: str, name: str, timeout: float) -> Callable[..., Awaitable[Request]]:
    """Warms the server up, and finds out which extras it takes: a function that sends one request. Raises Unavailable."""
    left = dict(EXTRAS)
    while True:
        ask = partial(_request, client, name, dict(left), timeout)
        warm = await ask(1, 16, 8, seed=0)
        if not warm.error or warm.arrivals:
            return ask
        if left and warm.error.startswith(("HTTP 400", "HTTP 422")):
            left.pop(next(iter(left)))
            continue
        raise Unavailable(f"{base} did not answer a chat request for {name}", why=warm.error, next=_hint(warm.error))


def _hint(error: str) -> str:
    if error.startswith(("HTTP 401", "HTTP 403")):
        return "give the server's key: --key, or OPENAI_API_KEY in the environment"
    if error.startswith("HTTP 404"):
        return "name a model that the server knows: --model"
    return "look at the server's own log; --model names another of its models"


async def _first_model(client: Any, base: str) -> str:
    import httpx

    try:
        answer = await client.get("/models")
        if answer.status_code in (401, 403):
            raise Unavailable(
                f"the server at {base} wants a key"
                if "authorization" not in client.headers
                else f"{base} refuses the key",
                why=f"HTTP {answer.status_code}",
                next=_hint(f"HTTP {answer.status_code}"),
            )
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as error:
        raise Unavailable(
            f"no OpenAI-compatible server answers at {base}",
            why=f"{type(error).__name__}: {error}",
            next="start one (onecard run chat --serve) or check the address; the path ends in /v1",
        ) from None


async def _level(ask: Callable[..., Awaitable[Request]], users: int, length: int, output: int, requests: int) -> Level:
    async def user(number: int) -> list[Request]:
        # Each prompt differs from its first words on: a prompt cache would otherwise answer for the prefill.
        return [await ask(users, length, output, seed=number * requests + i) for i in range(requests)]

    start = time.perf_counter()
    done = await asyncio.gather(*(user(n) for n in range(users)))
    seconds = time.perf_counter() - start
    return Level(concurrency=users, prompt_tokens=length, requests=tuple(r for rs in done for r in rs), seconds=seconds)


class _Answer:
    """What came of one request so far."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.arrivals: list[float] = []
        self.tokens = 0
        self.counted_prompt: int | None = None
        self.streamed = True

    def take(self, piece: object) -> None:
        """One object of the stream, or the whole answer. Raises ValueError for what is no part of a chat answer."""
        if not isinstance(piece, dict):
            raise ValueError(f"not an object: {str(piece)[:80]}")
        if piece.get("error"):
            raise ValueError(f"the server says {str(piece['error'])[:200]}")
        usage, choices = piece.get("usage"), piece.get("choices")
        if isinstance(usage, dict):
            self.tokens = _count(usage.get("completion_tokens")) or self.tokens
            self.counted_prompt = _count(usage.get("prompt_tokens")) or self.counted_prompt
        if any(_text(choice) for choice in (choices if isinstance(choices, list) else ())):
            self.arrivals.append(time.perf_counter() - self.start)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


async def _request(
    client: Any, model: str, extras: dict[str, Any], timeout: float, users: int, length: int, output: int, *, seed: int
) -> Request:
    import httpx

    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(length, seed)}],
        "max_tokens": output,
        "temperature": 0.0,
        "stream": True,
        **extras,
    }
    answer = _Answer()
    error = ""
    try:
        async with asyncio.timeout(timeout):
            await _exchange(client, body, answer)
    except TimeoutError:
        error = f"not finished after {timeout:.0f} s"
    except (httpx.HTTPError, ValueError, RecursionError) as failure:
        error = str(failure) if isinstance(failure, _Refused) else f"{type(failure).__name__}: {failure}"
    return Request(
        concurrency=users,
        prompt_tokens=length,
        # One piece that holds everything has an arrival, but no first token that could be told from the last.
        arrivals=tuple(answer.arrivals) if answer.streamed else (),
        output_tokens=answer.tokens or (len(answer.arrivals) if answer.streamed else 0),
        seconds=time.perf_counter() - answer.start,
        counted_prompt=answer.counted_prompt,
        error=error or ("" if answer.arrivals else "the answer held no text"),
    )


class _Refused(ValueError):
    """The server answered with another status than 200."""


async def _exchange(client: Any, body: dict[str, Any], into: _Answer) -> None:
    """Send one request and take its answer, streamed or (from a server that does not stream) as one object."""
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            text = (await answer.aread()).decode(errors="replace")
            raise _Refused(f"HTTP {answer.status_code}: {text[:200]}")
        whole: list[str] = []
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                text = line[5:].strip()
                if text == "[DONE]":
                    return
                into.take(json.loads(text))
            elif not into.arrivals and (whole or line.lstrip().startswith("{")):
                whole.append(line)
        if whole and not into.arrivals:
            into.streamed = False
            into.take(json.loads("".join(whole)))


def _text(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    said = choice.get("delta") or choice.get("message")
    return str(said.get("content") or said.get("reasoning_content") or "") if isinstance(said, dict) else ""


def prompt(tokens: int, seed: int) -> str:
    """About `tokens` tokens of text; another seed gives another text from the first word on."""
    start = (seed * 7 + 3) % len(WORDS)
    words = [f"{seed}:"] + [WORDS[(start + i * (1 + seed % 5)) % len(WORDS)] for i in range(max(1, tokens - 2))]
    return " ".join(words)
