"""A mock engine: an OpenAI-compatible server that costs a benchmark next to nothing.

    python bench/engine.py --port 9000 --pace-ms 10

Plain answers are one fixed body of 569 bytes. Streamed answers carry `max_tokens` words that all differ
(gateways with a guard against repetition would cut them short), at once for the model `mock-plain` and one
per `--pace-ms` for `mock-paced`. `GET /count` says how many completions it was asked for, so that a
run can prove which requests reached the engine and which came from a cache.
"""

import argparse
import asyncio
import json
import signal
from typing import cast

import httptools
import msgspec
import uvloop

PLAIN_MODEL = "mock-plain"
PACED_MODEL = "mock-paced"
BODY_BYTES = 569
TOKENS_DEFAULT = 100
TOKENS_MAX = 1_024
# Stands once in every streamed word, and nowhere else in an event, so that a client can count words.
WORD_MARK = "zq"


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Ask(msgspec.Struct):
    """The fields of a chat completion request that change the answer."""

    model: str = PLAIN_MODEL
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: StreamOptions | None = None

    @property
    def token_count(self) -> int:
        return min(self.max_tokens or self.max_completion_tokens or TOKENS_DEFAULT, TOKENS_MAX)


def plain_body() -> bytes:
    """A chat completion of exactly `BODY_BYTES`."""

    def body(filler: str) -> bytes:
        message = {"role": "assistant", "content": f"A container is an isolated process.{filler}"}
        return json.dumps(
            {
                "id": "chatcmpl-mock",
                "object": "chat.completion",
                "created": 1767225600,
                "model": PLAIN_MODEL,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 34, "completion_tokens": 60, "total_tokens": 94},
            }
        ).encode()

    return body("." * (BODY_BYTES - len(body(""))))


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    event = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": PLAIN_MODEL,
        "choices": choices,
        **more,
    }
    return _chunk(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


def word_event(index: int) -> bytes:
    """The event of one word, framed as an HTTP chunk; the first also names the role."""
    delta = {"content": f" {WORD_MARK}{index}"} | ({"role": "assistant"} if index == 0 else {})
    return _event([{"index": 0, "delta": delta, "finish_reason": None}])


def last_events(token_count: int, *, has_usage: bool) -> bytes:
    """Finish reason, usage when it was asked for, `[DONE]` and the end of the body."""
    finish = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    usage = {"prompt_tokens": 34, "completion_tokens": token_count, "total_tokens": token_count + 34}
    tail = _event([], usage=usage) if has_usage else b""
    return finish + tail + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def response(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Engine:
    """What all connections share: ready-made answers, the pace and the count of completions."""

    def __init__(self, pace_s: float) -> None:
        self.pace_s = pace_s
        self.calls = 0
        self.decode = msgspec.json.Decoder(Ask).decode
        self.plain = response(b"200 OK", plain_body())
        self.words = tuple(word_event(index) for index in range(TOKENS_MAX))
        models = [{"id": name, "object": "model", "owned_by": "mock"} for name in (PLAIN_MODEL, PACED_MODEL)]
        self.models = response(b"200 OK", json.dumps({"object": "list", "data": models}).encode())

    def count(self) -> bytes:
        return response(b"200 OK", json.dumps({"calls": self.calls}).encode())


class PacedAnswer:
    """Writes one word each `pace_s`, held to the clock and not to the word before."""

    def __init__(self, engine: Engine, transport: asyncio.Transport, ask: Ask) -> None:
        self._engine = engine
        self._transport = transport
        self._ask = ask
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._timer = self._loop.call_at(self._started_s + engine.pace_s, self._step)

    def cancel(self) -> None:
        self._timer.cancel()

    def _step(self) -> None:
        self._transport.write(self._engine.words[self._sent])
        self._sent += 1
        if self._sent == self._ask.token_count:
            self._transport.write(last_events(self._sent, has_usage=has_usage(self._ask)))
            return
        due_s = self._started_s + (self._sent + 1) * self._engine.pace_s
        self._timer = self._loop.call_at(due_s, self._step)


def has_usage(ask: Ask) -> bool:
    return ask.stream_options is not None and ask.stream_options.include_usage


class Session(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._paced: PacedAnswer | None = None
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, so the type cannot be asked for at run time.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._paced is not None:
            self._paced.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._write(response(b"400 Bad Request", b"{}"))

    def on_message_begin(self) -> None:
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/chat/completions"):
            self._complete()
        elif self._url.endswith(b"/models"):
            self._write(self._engine.models)
        elif self._url == b"/count":
            self._write(self._engine.count())
        else:
            self._write(response(b"404 Not Found", b"{}"))

    def _complete(self) -> None:
        try:
            ask = self._engine.decode(b"".join(self._body))
        except msgspec.MsgspecError:
            self._write(response(b"400 Bad Request", b"{}"))
            return
        self._engine.calls += 1
        if ask.stream:
            self._stream(ask)
        else:
            self._write(self._engine.plain)

    def _stream(self, ask: Ask) -> None:
        assert self._transport is not None
        self._transport.write(STREAM_HEAD)
        if ask.model == PACED_MODEL:
            self._paced = PacedAnswer(self._engine, self._transport, ask)
            return
        for word in self._engine.words[: ask.token_count]:
            self._transport.write(word)
        self._transport.write(last_events(ask.token_count, has_usage=has_usage(ask)))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


async def serve(port: int, pace_s: float) -> None:
    """Serves until SIGTERM or SIGINT; prints the port that was taken as its only line."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    engine = Engine(pace_s)
    server = await loop.create_server(lambda: Session(engine), "127.0.0.1", port, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Mock OpenAI-compatible engine on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace-ms", type=float, default=10, help="between two words of mock-paced")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.pace_ms / 1000))


if __name__ == "__main__":
    main()
