"""The mock engine and the load driver, against each other, as the processes they are in a run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
import pytest
from engine import BODY_BYTES, plain_body, word_event
from load import Order, WordCounter, percentile

BENCH = Path(measure.__file__).parent
# As our own door and OpenAI's have it, with a comment between.
STREAM = (
    b'data: {"delta": " zq0"}\n\n: ping\n\ndata: {"delta": " zq1 zq2"}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {"content": " zq3"}}]}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(scope="module")
def engine_port() -> Iterator[int]:
    command = [sys.executable, str(BENCH / "engine.py"), "--pace-ms", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


def run(port: int, question: dict[str, object], **more: Any) -> dict[str, Any]:
    order = {
        "port": port,
        "path": "/v1/chat/completions",
        "headers": {},
        "body": json.dumps(question),
        "concurrency": 3,
        "duration_s": 0.1,
        "mark": "isolated process",
        **more,
    }
    done = subprocess.run(
        [sys.executable, str(BENCH / "load.py")], input=json.dumps(order).encode(), stdout=subprocess.PIPE, check=True
    )
    tally: dict[str, Any] = json.loads(done.stdout)
    return tally


def test_plain_answers_are_all_counted_by_both_sides(engine_port: int) -> None:
    before = measure.engine_calls(engine_port)
    tally = run(engine_port, {"model": "mock-plain"})
    assert tally["errors"] == {}
    assert tally["requests"] == measure.engine_calls(engine_port) - before > 10
    assert 0 < tally["p50_ms"] <= tally["p99_ms"]


@pytest.mark.parametrize("model", ["mock-plain", "mock-paced"])
def test_streams_are_counted_word_by_word(engine_port: int, model: str) -> None:
    body = {"model": model, "stream": True, "max_tokens": 20, "stream_options": {"include_usage": True}}
    tally = run(engine_port, body, mark="zq", words_per_stream=20)
    assert tally["errors"] == {}
    assert tally["words"] == tally["events"] == 20 * tally["requests"] > 0
    assert 0 < tally["first_word_p50_ms"] <= tally["p50_ms"]


def test_a_paced_stream_takes_its_time(engine_port: int) -> None:
    body = {"model": "mock-paced", "stream": True, "max_tokens": 20}
    tally = run(engine_port, body, mark="zq", words_per_stream=20)
    assert tally["p50_ms"] >= 20 * 2 * 0.9


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"mark": "another text"}, "other body"),
        ({"path": "/nowhere"}, "status 404"),
        ({"body": "{"}, "status 400"),
    ],
)
def test_wrong_answers_are_errors(engine_port: int, more: dict[str, str], fault: str) -> None:
    tally = run(engine_port, {}, **more)
    assert tally["requests"] == 0
    assert list(tally["errors"]) == [fault]


def test_a_stream_that_lacks_words_is_an_error(engine_port: int) -> None:
    body = {"model": "mock-plain", "stream": True, "max_tokens": 5}
    tally = run(engine_port, body, mark="zq", words_per_stream=6)
    assert (tally["requests"], list(tally["errors"])) == (0, ["words missing"])


def test_nobody_there_is_an_error() -> None:
    tally = run(measure.free_port(), {})
    assert tally["requests"] == 0
    assert tally["errors"]["refused"] >= 3


def test_the_plain_body_has_its_size_and_every_word_differs() -> None:
    assert len(plain_body()) == BODY_BYTES
    assert json.loads(plain_body())["usage"]["total_tokens"] == 94
    assert len({word_event(index) for index in range(50)}) == 50


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_words_are_counted_however_the_bytes_are_cut(step: int) -> None:
    counter = WordCounter("zq")
    for start in range(0, len(STREAM), step):
        counter.feed(STREAM[start : start + step])
    assert (counter.words, counter.events) == (4, 3)
    assert counter.has_ended
    assert not counter.is_broken


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b'data: {"delta": " zq0"\n\n', id="no JSON"),
        pytest.param(b'data: {"choices": [{"delta": {"content": 3}}]}\n\n', id="no text"),
        pytest.param(b'{"delta": " zq0"}\n\n', id="no event"),
        pytest.param(b'data: [DONE]\n\ndata: {"delta": " zq0"}\n\n', id="after the end"),
    ],
)
def test_an_event_that_no_client_could_read_breaks_the_stream(stream: bytes) -> None:
    counter = WordCounter("zq")
    counter.feed(stream)
    assert counter.is_broken
    assert counter.words == 0


def test_what_is_not_text_is_not_a_word() -> None:
    counter = WordCounter("zq")
    counter.feed(b'data: {"id": "zq", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n')
    counter.feed(b'data: {"choices": [], "usage": {"total_tokens": 9}}\n\ndata: [DONE]\n\n')
    assert (counter.words, counter.events, counter.is_broken, counter.has_ended) == (0, 0, False, True)


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (51.0, 100.0, 0.0)


def test_an_order_is_one_whole_request() -> None:
    order = Order(port=80, path="/a", headers={"x-key": "k"}, body="{}", concurrency=1, duration_s=1)
    head, _, body = order.encode().partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.split(b"\r\n")[0] == b"POST /a HTTP/1.1"
    assert {b"content-length: 2", b"x-key: k"} <= set(head.split(b"\r\n"))
