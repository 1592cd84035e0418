"""What a server's name may mean, what one user got of a plan's promise, and what is kept of it."""

import pytest

from onecard.api import endpoints
from onecard.catalog import find_model
from onecard.core.served import Promise
from onecard.engines.endpoint import Level, Request

ONE_WAY = {
    "llama3.1:8b": "llama-3.1-8b",
    "meta/llama-3.1-8b-instruct": "llama-3.1-8b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf": "llama-3.1-8b",
    "/models/llama-3.2-1b-instruct-q4_k_m.gguf": "llama-3.2-1b",
    "C:\\models\\Qwen2.5-7B-Instruct-Q8_0.gguf": "qwen2.5-7b",
    "qwen2.5:7b-instruct-q4_K_M": "qwen2.5-7b",
    "google/gemma-2-9b-it": "gemma-2-9b",
}


@pytest.mark.parametrize("name", ONE_WAY)
def test_names_of_servers_are_found_in_the_catalogue(name):
    answer = endpoints._planned(name, None, 128, 64)
    assert answer is not None and find_model(answer.settings["model"]).name == ONE_WAY[name]
    if "q4_k_m" in name.lower():
        assert answer.settings["quant"] == "q4_k_m"


def test_a_name_that_is_nobodys_has_no_plan():
    assert endpoints._planned("my-secret-model", None, 128, 64) is None
    assert endpoints._planned("tiny", None, 128, 64) is None


def request(arrivals, tokens, error=""):
    return Request(
        concurrency=1,
        prompt_tokens=100,
        arrivals=arrivals,
        output_tokens=tokens,
        seconds=2.0,
        counted_prompt=110,
        error=error,
    )


def test_one_users_rates_count_tokens_not_pieces():
    """Two tokens came in each piece: the time between pieces is not the time between tokens."""
    level = Level(
        concurrency=1,
        prompt_tokens=100,
        requests=(request((0.5, 1.0, 1.5), 6), request((), 0, "HTTP 503: x")),
        seconds=2.0,
    )
    served = endpoints._served(level)
    assert served.errors == 1 and served.refusals == {"HTTP 503: x": 1} and served.counted_prompt == 110
    assert dict(endpoints._rates(served)) == {"prefill_tokens_per_s": 110 / 0.5, "decode_tokens_per_s": 5 / 1.0}
    (promise,) = endpoints._promises(served, {"decode_tokens_per_s": (6.0, 7.0, 8.0)})
    assert promise == Promise(name="decode_tokens_per_s", measured=5.0, predicted=(6.0, 7.0, 8.0), prompt_tokens=110)
    assert promise.place == "slower"
    record = endpoints._record("http://127.0.0.1:8000", "m", served)
    assert record.outcome == "ok" and record.quality == {"requests": 2, "errors": 1} and "1 x HTTP 503" in record.error


def test_several_users_are_held_against_no_promise_of_one():
    served = endpoints._served(Level(concurrency=2, prompt_tokens=100, requests=(request((0.5, 1.0), 2),), seconds=1.0))
    assert list(endpoints._promises(served, {"decode_tokens_per_s": (6.0, 7.0, 8.0)})) == []


def test_a_password_in_the_address_is_not_kept():
    assert endpoints._address("http://ada:secret@10.0.0.7:8000/v1 ") == "http://10.0.0.7:8000/v1"
    assert endpoints._address("http://127.0.0.1:8000/v1") == "http://127.0.0.1:8000/v1"
