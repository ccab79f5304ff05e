"""How answers are written, seen by a client that speaks bytes: framing, faults of the application, slow readers."""

import json
import time
from typing import Any

import pytest

from tests.unit.server.wire import MIB, Application, Client, Running, closing, eventually, plain, post, request

HEAD = {"type": "http.response.start", "status": 200, "headers": [["content-type", "text/plain"]]}
FAULT = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n"
STREAMED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
)


def start(*headers: tuple[str, str], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(text: str = "", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": more}


def say(*messages: dict[str, Any]) -> bytes:
    return post("/say", json.dumps(messages).encode())


def test_a_whole_answer_has_its_date_once(client: Client) -> None:
    client.send(request("/", "Connection: close"))
    while part := client.connection.recv(65_536):
        client.pending += part
    assert client.pending.count(b"\r\ndate: ") == 1


def test_a_stream_goes_out_in_chunks_and_the_connection_stays(client: Client) -> None:
    client.send(request("/stream") + request("/", "Connection: close"))
    assert client.rest() == STREAMED + closing(plain(b"hello"))


def test_a_stream_to_http_1_0_ends_with_the_connection(client: Client) -> None:
    client.send(b"GET /stream HTTP/1.0\r\n\r\n")
    assert client.rest() == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nonetwo"


def test_a_whole_answer_without_a_length_gets_one(client: Client) -> None:
    client.send(say(HEAD, body("hello")) + say(start(), body()))
    assert client.answer() == plain(b"hello")
    assert client.answer() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def test_an_answer_with_a_length_may_come_in_pieces(client: Client) -> None:
    client.send(say(start(("content-length", "5")), body("he", more=True), body("llo")) + request("/"))
    assert client.answer() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    assert client.answer() == plain(b"hello")


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_head_has_no_body(client: Client, path: str) -> None:
    client.send(request(path, method="HEAD") + request("/scope", "Connection: close"))
    head, _, rest = client.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain")
    assert b"chunked" not in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("status", "line"), [(204, b"204 No Content"), (304, b"304 Not Modified"), (299, b"299 ")])
def test_statuses(client: Client, status: int, line: bytes) -> None:
    client.send(say(start(status=status), body()) + request("/"))
    length = b"content-length: 0\r\n" if status == 299 else b""
    assert client.answer() == b"HTTP/1.1 " + line + b"\r\n" + length + b"\r\n"
    assert client.answer() == plain(b"hello")


def test_an_application_may_end_the_connection(client: Client) -> None:
    client.send(say(start(("connection", "Close"), ("content-length", "2")), body("ok")) + request("/"))
    assert client.rest() == b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nok"


def test_framing_is_the_servers(client: Client) -> None:
    client.send(say(start(("transfer-encoding", "gzip"), ("content-length", "2")), body("ok")))
    assert client.answer() == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "messages",
    [
        (start(("x-a", "b\r\nset-cookie: c")), body("ok")),
        (start(("x-a", "b\nset-cookie: c")), body("ok")),
        (start(("x-a", "b\rset-cookie: c")), body("ok")),
        (start(("x-a", "b\0")), body("ok")),
        (start(("x-a\r\nset-cookie", "c")), body("ok")),
        (start(("x-a", "b\r\n\r\n")), body("ok", more=True)),
        (start(("content-length", "1")), body("ok")),
        (start(("content-length", "3")), body("ok")),
        (start(("content-length", "x")), body("ok")),
        (body("ok"),),
        (start(), start()),
        (start(),),
        (),
    ],
)
def test_what_cannot_be_sent_is_a_500_and_the_end(client: Client, messages: tuple[dict[str, Any], ...]) -> None:
    client.send(say(*messages) + request("/"))
    answer = client.rest()
    assert answer.startswith(FAULT)
    assert b"set-cookie" not in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "server.unexpected"


@pytest.mark.parametrize(
    "rest",
    [
        (body("more than that"),),
        (body("x"),),
        (start(),),
        (),
    ],
)
def test_an_answer_that_goes_wrong_after_its_first_byte_is_cut(
    client: Client, rest: tuple[dict[str, Any], ...]
) -> None:
    client.send(say(start(("content-length", "5")), body("he", more=True), *rest) + request("/"))
    assert client.rest() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"


def test_nothing_may_follow_a_whole_answer(client: Client) -> None:
    client.send(say(HEAD, body("hello"), body("again")) + request("/"))
    assert client.answer() == plain(b"hello")
    assert client.answer() == plain(b"hello")


@pytest.mark.parametrize("count", [0, 1])
def test_an_application_that_fails_before_its_first_byte_gives_a_500(client: Client, count: int) -> None:
    client.send(request(f"/fail/{count}") + request("/"))
    assert client.rest().startswith(FAULT)


def test_an_application_that_fails_within_its_answer_cuts_it(client: Client) -> None:
    client.send(request("/fail/2") + request("/"))
    assert client.rest() == STREAMED[: STREAMED.index(b"3\r\ntwo")], (
        "and without a last chunk it is not taken for whole"
    )


def test_a_body_is_called_for_when_the_application_wants_it(client: Client) -> None:
    client.send(request("/echo", "Expect: 100-Continue", "Content-Length: 4", method="POST"))
    assert client.answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert client.answer() == plain(b"body")
    client.send(post("/echo", b"sent along", "Expect: 100-continue"))
    assert client.answer() == plain(b"sent along"), "a body that is here is not called for"


def test_a_body_that_is_not_called_for_ends_the_connection(client: Client) -> None:
    client.send(request("/ignore", "Expect: 100-continue", "Content-Length: 4", method="POST"))
    assert client.rest() == closing(plain(b"ignored", status="413 Request Entity Too Large"))


def test_a_client_that_reads_slowly_is_waited_for(running: Running, application: Application) -> None:
    client = running.connect(buffer_bytes=65_536)
    client.send(request("/flood", "Connection: close"))
    application.heard(1)
    time.sleep(0.1)
    assert len(application.notes) < 20
    _, _, answer = client.rest().partition(b"\r\n\r\n")
    assert answer.count(b"x") == 16 * MIB
    assert answer.endswith(b"\r\n0\r\n\r\n")
    client.close()


def test_a_client_that_leaves_while_it_is_waited_for_is_noticed(running: Running, application: Application) -> None:
    client = running.connect(buffer_bytes=65_536)
    client.send(request("/flood"))
    application.heard(1)
    client.close()
    assert len(application.heard(32)) == 32, "the rest is dropped"


def test_a_client_that_leaves_within_a_stream_is_noticed(
    running: Running, client: Client, application: Application
) -> None:
    client.send(request("/watched"))
    assert client.connection.recv(65_536).endswith(b"3\r\none\r\n")
    client.close()
    assert application.heard(3) == ["http.disconnect", "http.disconnect", "dropped"]
    eventually(lambda: not running.server.server_state.tasks)
