"""The endpoint client against real HTTP servers on loopback that behave well, badly and not at all."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onecard.core.errors import BadSetting, Unavailable
from onecard.engines import endpoint
from onecard.engines.endpoint import measure, prompt

httpx = pytest.importorskip("httpx", reason="the extra bench is not installed")


GARBAGE = {
    "breaks": b"{not json",
    "a number": b"5",
    "a list": b'["x"]',
    "deep": b"[" * 100_000,
    "an error in the stream": b'{"error": {"message": "cuda out of memory"}}',
}


class Server(BaseHTTPRequestHandler):
    """Streams `max_tokens` pieces; `behaviour` of the server decides what goes wrong."""

    def do_GET(self):
        if self.server.behaviour(0) == "wants a key" and self.headers.get("Authorization") != "Bearer right":
            return self._json({"error": "no key"}, 401)
        return self._json({"data": [{"id": "tiny"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        behaviour = self.server.behaviour(len(self.server.bodies))
        if behaviour == "overloaded":
            return self._json({"error": "overloaded"}, 503)
        if behaviour == "strict" and {"ignore_eos", "stream_options"} & set(body):
            return self._json({"error": "unknown field"}, 400)
        if behaviour == "does not stream":
            message = {"role": "assistant", "content": "all at once"}
            usage = {"completion_tokens": body["max_tokens"], "prompt_tokens": 21}
            return self._json({"choices": [{"message": message}], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._event({"choices": [{"delta": {"role": "assistant"}}]})
        for i in range(body["max_tokens"]):
            self._event({"choices": [{"delta": {"content": f" {i}"}}]})
            if behaviour in GARBAGE:
                self.wfile.write(b"data: " + GARBAGE[behaviour] + b"\n\n")
            if behaviour == "stalls" and i == 1:
                self.wfile.flush()
                self.server.stalled.wait(20)
                return None
        if behaviour != "no usage":
            self._event({"choices": [], "usage": {"completion_tokens": body["max_tokens"] * 2}})
        self.wfile.write(b"data: [DONE]\n\n")
        return None

    def _event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    started = []

    def start(behaviour=lambda n: "well"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
        server.behaviour, server.bodies, server.stalled = behaviour, [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.stalled.set()
        server.shutdown()
        server.server_close()


def run(url, **changes):
    return measure(
        url, **{"concurrency": (1, 3), "prompt_tokens": (16, 64), "output_tokens": 5, "requests": 2, **changes}
    )


def test_every_pair_is_measured_and_every_request_is_kept(serve):
    server, url = serve()
    told = []
    model, levels = run(url, told=told.append)
    assert model == "tiny"
    assert [(v.prompt_tokens, v.concurrency, len(v.requests)) for v in levels] == [
        (16, 1, 2),
        (16, 3, 6),
        (64, 1, 2),
        (64, 3, 6),
    ]
    assert told == levels and {v.model for v in levels} == {"tiny"}
    assert len(server.bodies) == 1 + 2 * (2 + 6), "one warm-up request and nothing else"
    for level in levels:
        assert level.errors == 0
        for request in level.requests:
            assert len(request.arrivals) == 5 and request.output_tokens == 10, "tokens are those that the server counts"
            assert list(request.arrivals) == sorted(request.arrivals)
            assert 0 < request.first_token <= request.seconds
            assert len(request.between_tokens) == 4
        assert level.output_tokens_per_s == pytest.approx(10 * len(level.requests) / level.seconds)


def test_without_usage_pieces_are_counted(serve):
    _, url = serve(lambda n: "no usage")
    _, levels = run(url)
    assert {r.output_tokens for v in levels for r in v.requests} == {5}


def test_failed_requests_are_counted_and_do_not_end_the_measurement(serve):
    _, url = serve(lambda n: "overloaded" if n % 3 == 0 else "well")
    _, levels = run(url)
    failed = [r for v in levels for r in v.requests if r.error]
    assert failed and sum(v.errors for v in levels) == len(failed)
    assert all("503" in r.error and r.first_token is None for r in failed)
    assert all(v.output_tokens_per_s for v in levels if v.errors < len(v.requests))


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_in_the_stream_is_an_error_of_that_request(serve, kind):
    _, url = serve(lambda n: kind if n > 1 else "well")
    _, levels = run(url, concurrency=(2,), prompt_tokens=(16,))
    assert all(v.errors == len(v.requests) and v.output_tokens_per_s is None for v in levels)
    if kind == "an error in the stream":
        assert "cuda out of memory" in levels[0].requests[0].error


@pytest.mark.parametrize("usage", ["many", [1], {"completion_tokens": "ten"}, {"completion_tokens": -3}])
def test_odd_usage_and_choices_are_passed_over(usage):
    answer = endpoint._Answer()
    answer.take({"choices": None, "usage": usage})
    answer.take({"choices": [None, {"delta": None}, {"delta": {"content": "a"}}], "usage": None})
    assert answer.tokens == 0 and len(answer.arrivals) == 1


def test_a_server_that_does_not_stream_has_a_rate_and_no_first_token(serve):
    _, url = serve(lambda n: "does not stream")
    _, levels = run(url)
    for level in levels:
        assert level.errors == 0 and level.output_tokens_per_s == pytest.approx(5 * len(level.requests) / level.seconds)
        assert all(r.first_token is None and r.between_tokens == () and r.counted_prompt == 21 for r in level.requests)


def test_a_strict_server_is_asked_without_extras(serve):
    server, url = serve(lambda n: "strict")
    _, levels = run(url, concurrency=(1,), prompt_tokens=(16,))
    assert levels[0].errors == 0
    assert all(not {"ignore_eos", "stream_options"} & set(body) for body in server.bodies[2:])


def test_a_server_that_stalls_does_not_hold_the_measurement_up(serve):
    _, url = serve(lambda n: "stalls" if n > 1 else "well")
    _, (level,) = run(url, concurrency=(1,), prompt_tokens=(16,), requests=1, timeout=0.5)
    (request,) = level.requests
    assert "not finished after" in request.error and len(request.arrivals) == 2 and request.seconds < 10


def test_a_key_is_asked_for_and_sent(serve):
    _, url = serve(lambda n: "wants a key")
    with pytest.raises(Unavailable, match="wants a key") as error:
        run(url)
    assert "--key" in error.value.next
    with pytest.raises(Unavailable, match="refuses the key"):
        run(url, key="wrong")
    model, _ = run(url, key="right", concurrency=(1,), prompt_tokens=(16,))
    assert model == "tiny"


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost/v1", "http://", "http://[::1", "nonsense"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(BadSetting):
        measure(url)


def test_prompts_share_no_beginning(serve):
    server, url = serve()
    run(url, concurrency=(4,), prompt_tokens=(32,))
    starts = [b["messages"][0]["content"].split()[0] for b in server.bodies[1:]]
    assert len(set(starts)) == len(starts), "a prompt cache could answer for the prefill"
    assert len(prompt(100, 1).split()) == pytest.approx(100, abs=2)


def test_no_server_is_one_clear_error():
    with pytest.raises(Unavailable) as error:
        measure("http://127.0.0.1:9")
    assert "no OpenAI-compatible server answers" in error.value.what and error.value.next


def test_a_server_that_is_not_one_is_one_clear_error(serve):
    _, url = serve(lambda n: "overloaded")
    with pytest.raises(Unavailable):
        run(url)
