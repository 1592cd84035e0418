"""The endpoint client against real HTTP servers on loopback that behave well, badly and not at all."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onecard.core.errors import Unavailable
from onecard.engines.endpoint import measure, prompt

httpx = pytest.importorskip("httpx", reason="the extra bench is not installed")


class Server(BaseHTTPRequestHandler):
    """Streams `max_tokens` pieces; `behaviour` of the server decides what goes wrong."""

    def do_GET(self):
        self._json({"data": [{"id": "tiny"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        behaviour = self.server.behaviour(len(self.server.bodies))
        if behaviour == "overloaded":
            return self._json({"error": "overloaded"}, 503)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._event({"choices": [{"delta": {"role": "assistant"}}]})
        for i in range(body["max_tokens"]):
            self._event({"choices": [{"delta": {"content": f" {i}"}}]})
            if behaviour == "breaks":
                self.wfile.write(b"data: {not json\n\n")
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
        server.behaviour, server.bodies = behaviour, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
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
    assert told == levels
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


def test_garbage_in_the_stream_is_an_error_of_that_request(serve):
    _, url = serve(lambda n: "breaks" if n > 1 else "well")
    _, levels = run(url)
    assert all(v.errors == len(v.requests) and v.output_tokens_per_s is None for v in levels)


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
