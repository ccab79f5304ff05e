"""How requests are read off the wire, seen by a client that speaks bytes: order, framing, refusals, time."""

import json
import time
from typing import Any

import pytest

from aiservice.server.heads import HEAD_BYTES_MAX
from aiservice.server.protocol import WAITING_BYTES_MAX
from tests.unit.server.wire import (
    LOOPS,
    MIB,
    Application,
    Client,
    Running,
    closing,
    eventually,
    plain,
    post,
    request,
    serving,
)

HELLO = plain(b"hello")
READ_BYTES_MAX = 262_144
REFUSAL = {
    "message": "This is not a well-formed HTTP/1.1 request.",
    "type": "invalid_request_error",
    "param": None,
    "code": "request.malformed",
}


def scope_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def refusal_in(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert head.endswith(b"\r\nconnection: close")
    return json.loads(body)["error"]


def test_a_connection_is_kept_for_further_requests(client: Client) -> None:
    for _ in range(3):
        client.send(request("/"))
        assert client.answer() == HELLO
    assert client.is_open()


def test_what_the_application_is_told(client: Client) -> None:
    client.send(request("/scope/a%20b/%C3%A9?q=%20&r", "X-API-Key: k \t", "accept: a", "Accept: b", "x-latin: \xe9"))
    scope = scope_of(client.answer())
    assert scope["method"] == "GET"
    assert scope["path"] == "/scope/a b/é"
    assert scope["raw_path"] == "/scope/a%20b/%C3%A9"
    assert scope["query_string"] == "q=%20&r"
    assert (scope["http_version"], scope["scheme"]) == ("1.1", "http")
    assert scope["client"] == list(client.connection.getsockname())
    assert scope["headers"] == [["host", "x"], ["x-api-key", "k"], ["accept", "a"], ["accept", "b"], ["x-latin", "Ã©"]]


@pytest.mark.parametrize("target", ["http://x/scope?q", "/scope?q", "/scope?q#fragment", "http://x:80/scope?q#f"])
def test_targets(client: Client, target: str) -> None:
    client.send(request(target))
    scope = scope_of(client.answer())
    assert (scope["path"], scope["query_string"]) == ("/scope", "q")


def test_a_request_may_come_in_any_two_parts(client: Client) -> None:
    whole = post("/echo", b"body", "X-A: b")
    for cut in range(1, len(whole)):
        client.send(whole[:cut])
        time.sleep(0.001)
        client.send(whole[cut:])
        assert client.answer() == plain(b"body"), cut


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_request_may_come_byte_by_byte(client: Client, framing: str) -> None:
    chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    for byte in post("/echo", b"body") if framing == "length" else chunked:
        client.send(bytes([byte]))
        time.sleep(0.0005)
    assert client.answer() == plain(b"body")
    assert client.is_open()


def test_chunks_with_extensions_and_trailers(client: Client) -> None:
    head = request("/echo", "Transfer-Encoding: chunked", method="POST")
    client.send(head + b"3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX-Trailer: t\r\n\r\n" + request("/scope"))
    assert client.answer() == plain(b"abcd")
    assert scope_of(client.answer())["headers"] == [["host", "x"]], "a trailer is not a header of the next request"


def test_requests_sent_at_once_are_answered_in_order(client: Client, application: Application) -> None:
    bodies = [str(number).encode() for number in range(50)]
    client.send(request("/slow") + b"".join(post("/echo", body) for body in bodies) + request("/"))
    application.heard(1)
    assert client.is_open()
    application.go.set()
    assert client.answer() == plain(b"slow")
    assert [client.answer() for _ in bodies] == [plain(body) for body in bodies]
    assert client.answer() == HELLO


def test_no_more_is_read_while_a_request_waits(client: Client, application: Application) -> None:
    client.send(request("/slow"))
    application.heard(1)
    assert client.send_until_full(request("/") * (MIB // 2)) < 16 * MIB, "what the system holds"


def test_a_client_that_asks_to_close_is_closed(client: Client) -> None:
    client.send(request("/", "Connection: close"))
    assert client.rest() == closing(HELLO)


def test_http_1_0_is_closed(client: Client) -> None:
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    assert client.rest() == closing(HELLO), "and the second request is not answered"


def test_a_large_body_waits_until_it_is_taken(running: Running, application: Application) -> None:
    client, body = running.connect(buffer_bytes=65_536), b"x" * 16 * MIB
    client.send(request("/later", f"Content-Length: {len(body)}", method="POST"))
    application.heard(1)
    sent = client.send_until_full(body)
    assert sent < 8 * MIB
    application.go.set()
    client.send(body[sent:] + request("/"))
    assert client.answer() == plain(str(len(body)).encode())
    assert client.answer() == HELLO
    assert application.notes[1] <= WAITING_BYTES_MAX + READ_BYTES_MAX
    client.close()


@pytest.mark.parametrize("offer", ["websocket", "h2c"])
def test_an_offer_of_another_protocol_is_passed_over(client: Client, offer: str) -> None:
    headers = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAMA")
    chunked = (
        request("/echo", *headers, "Transfer-Encoding: chunked", method="POST") + b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    )
    client.send(post("/echo", b"GET / ", *headers) + chunked + request("/", *headers) + post("/echo", b"", *headers))
    assert client.answer() == plain(b"GET / ")
    assert client.answer() == plain(b"body")
    assert client.answer() == HELLO
    assert client.answer() == plain(b"")
    for byte in post("/echo", b"body", *headers) + request("/"):
        client.send(bytes([byte]))
    assert client.answer() == plain(b"body")
    assert client.answer() == HELLO


def head(*lines: str, start: str = "POST / HTTP/1.1") -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "bad",
    [
        head("Host: x", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("Host: x", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n",
        head("Host: x", "Content-Length: 3", "Content-Length: 4") + b"abcd",
        head("Host: x", "Content-Length: 3", "content-length: 3") + b"abc",
        head("Host: x", "Content-Length: 3, 3") + b"abc",
        head("Host: x", "Content-Length: +3") + b"abc",
        head("Host: x", "Content-Length: 0x3") + b"abc",
        head("Host: x", "Content-Length: ") + b"abc",
        head("Host: x", "Content-Length: 99999999999999999999") + b"abc",
        head("Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("Host: x", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
        head("Host: x", "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
        head("Transfer-Encoding: chunked", start="POST / HTTP/1.0") + b"0\r\n\r\n",
        head("Host: x", "A: b", " folded"),
        head("Host: x", "A : b"),
        head("Host: x", ": b"),
        head("Host: x", "A"),
        head("Host: x", "A\xff: b"),
        head("Host: x", "A: b\0c"),
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        head("A: b"),
        head("Host: x", "Host: y"),
        head("Host: x", "host: x"),
        head("Host: x", "Expect: 100-continue", "Expect: 100-continue"),
        head("Host: x", start="GET / HTTP/2.0"),
        head("Host: x", start="GET / HTTP/1.2"),
        head("Host: x", start="GET / HTTP/0.9"),
        b"GET /\r\n\r\n",
        head("Host: x", start="BREW / HTTP/1.1"),
        head("Host: x", start="GET /a b HTTP/1.1"),
        head("Host: x", start="GET /\xff HTTP/1.1"),
        head("Host: x", start="GET a HTTP/1.1"),
        head("Host: x", start="CONNECT x:443 HTTP/1.1"),
        head("Host: x", "Content-Length: 18", start="CONNECT /echo HTTP/1.1") + b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_or_can_be_read_in_two_ways_is_refused(client: Client, bad: bytes) -> None:
    client.send(bad + request("/"))
    assert refusal_in(client.rest()) == REFUSAL


@pytest.mark.parametrize("bad", ["zz\r\nabc\r\n", "3\r\nabcd\r\n", "-3\r\nabc\r\n", "3 \r\nabc\r\n", "3\nabc\n"])
def test_a_malformed_chunk_ends_the_request(client: Client, application: Application, bad: str) -> None:
    client.send(request("/pieces", "Transfer-Encoding: chunked", method="POST") + b"2\r\nok\r\n")
    assert application.heard(1) == [b"ok"]
    client.send(bad.encode() + request("/"))
    assert refusal_in(client.rest()) == REFUSAL
    assert application.heard(2)[-1] == "http.disconnect"


def test_a_transfer_encoding_that_hides_the_end_is_refused(client: Client) -> None:
    client.send(request("/echo", "Transfer-Encoding: identity", method="POST") + b"abc")
    assert refusal_in(client.rest()) == REFUSAL


def test_what_was_asked_before_the_malformed_is_answered(client: Client, application: Application) -> None:
    client.send(request("/slow") + request("/") + b"nonsense\r\n\r\n" + request("/"))
    application.go.set()
    assert client.rest() == plain(b"slow") + closing(HELLO)


def test_a_malformed_body_of_a_request_that_waits_leaves_the_others_alone(
    client: Client, application: Application
) -> None:
    bad = request("/echo", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n"
    client.send(request("/slow") + bad)
    application.go.set()
    assert client.rest() == closing(plain(b"slow"))


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"a" * HEAD_BYTES_MAX,
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * HEAD_BYTES_MAX,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (HEAD_BYTES_MAX // 4) + b"\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"a" * HEAD_BYTES_MAX,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"a" * HEAD_BYTES_MAX,
    ],
)
def test_what_is_no_body_is_bounded(client: Client, start: bytes) -> None:
    client.send(start)
    # What comes in one read with a good head is not counted.
    time.sleep(0.03)
    client.send(b"a" * (HEAD_BYTES_MAX + 1))
    assert refusal_in(client.rest())["code"] == "request.malformed"


def test_a_long_head_below_the_bound_and_a_long_body_beside_it(client: Client) -> None:
    long = "A: " + "a" * (HEAD_BYTES_MAX - 200)
    client.send(post("/echo", b"x" * 200_000, long) + request("/", long))
    assert client.answer() == plain(b"x" * 200_000)
    assert client.answer() == HELLO


def test_a_client_that_leaves_within_its_body_is_noticed(client: Client, application: Application) -> None:
    client.send(request("/pieces", "Content-Length: 9", method="POST") + b"part")
    application.heard(1)
    client.close()
    assert application.heard(2) == [b"part", "http.disconnect"]


def test_a_body_that_the_answer_did_not_wait_for_is_read_past(client: Client, application: Application) -> None:
    client.send(request("/ignore", "Content-Length: 200000", method="POST"))
    assert client.answer() == plain(b"ignored", status="413 Request Entity Too Large")
    client.send(b"x" * 200_000 + request("/"))
    assert client.answer() == HELLO


def test_a_body_that_nobody_waits_for_and_does_not_come_ends_the_connection(client: Client) -> None:
    client.send(request("/ignore", "Content-Length: 200000", method="POST") + b"x")
    assert client.rest() == plain(b"ignored", status="413 Request Entity Too Large")


def test_what_comes_after_the_last_answer_does_not_cost_the_client_that_answer(client: Client) -> None:
    body = b"x" * 4 * MIB
    client.send(request("/ignore", "Connection: close", f"Content-Length: {2 * len(body)}", method="POST"))
    client.send(body)
    assert client.rest() == closing(plain(b"ignored", status="413 Request Entity Too Large"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_silent_connection_is_closed_but_never_a_busy_one(loop: str) -> None:
    with serving(loop, keep_alive_s=0.2) as running:
        busy, idle, new = (running.connect() for _ in range(3))
        busy.send(request("/slow"))
        idle.send(request("/"))
        assert idle.answer() == HELLO
        began_s = time.monotonic()
        assert idle.rest() == new.rest() == b""
        assert 0.1 < time.monotonic() - began_s < 2
        time.sleep(0.3)
        running.application.go.set()
        assert busy.answer() == plain(b"slow")
        assert busy.rest() == b""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_stops_closes_idle_connections_and_lets_answers_end(loop: str) -> None:
    with serving(loop) as running:
        busy, idle = running.connect(), running.connect()
        idle.send(request("/"))
        assert idle.answer() == HELLO
        busy.send(request("/slow") + request("/"))
        running.application.heard(1)
        running.server.should_exit = True
        assert idle.rest() == b""
        running.application.go.set()
        assert busy.rest() == closing(plain(b"slow"))
        eventually(lambda: not running.server.server_state.connections)
        eventually(lambda: not running.server.server_state.tasks)
