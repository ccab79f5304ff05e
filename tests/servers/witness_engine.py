"""An OpenAI-compatible engine in a process of its own that writes each call down before it answers it.

    python tests/servers/witness_engine.py notes.jsonl

Prints its port. The prompt names the call: `request 17 ...` is number 17, is counted as `prompt_tokens(prompt)` and is
answered by `words(17, max_tokens)`, so that no answer can pass for another's. The model names what happens: `paced-20`
gives one word every 20 ms (a plain answer comes when all are there), `broken-500` answers 500 after 500 ms.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Literal, cast

import httptools
import msgspec
import uvloop

MODELS = ("paced-0", "paced-3", "paced-30", "paced-100", "paced-300", "broken-500")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BACKLOG = 1_024


class Note(msgspec.Struct, frozen=True):
    """What the engine saw: a call, or that its caller left before the end. `port` is the caller's.

    `at_s` is the machine's monotonic time, which other processes share.
    """

    event: Literal["call", "left"]
    number: int
    port: int
    at_s: float


class Turn(msgspec.Struct):
    """One message."""

    content: str


class Ask(msgspec.Struct):
    """The fields of a chat completion request that matter here."""

    model: str
    messages: list[Turn]
    max_tokens: int
    stream: bool = False

    @property
    def prompt(self) -> str:
        return self.messages[-1].content

    @property
    def number(self) -> int:
        return int(self.prompt.split()[1])


def words(number: int, count: int) -> list[str]:
    """The answer to a call, a word a token."""
    return [f"{number}.{index} " for index in range(count)]


def prompt_tokens(prompt: str) -> int:
    """As the service estimates a prompt of one message, so that the row of a lost request has the same number."""
    return len(prompt) // 4 + 4


class Notebook:
    """The file of notes: each is in it when `write` returns, so that nothing that was answered is missing."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def write(self, event: Literal["call", "left"], number: int, port: int) -> None:
        os.write(self._file, self._encode(Note(event, number, port, time.monotonic())) + b"\n")


class Session(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._number: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, they only have its methods.
        self._transport = cast(asyncio.Transport, transport)
        self._port = transport.get_extra_info("peername")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._number is not None:
            self._notebook.write("left", self._number, self._port)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/models"):
            self._write_json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})
            return
        ask = msgspec.json.decode(b"".join(self._body), type=Ask)
        self._number = ask.number
        self._notebook.write("call", ask.number, self._port)
        kind, _, pace_ms = ask.model.partition("-")
        pace_s = int(pace_ms) / 1000
        if kind == "broken":
            self._after(pace_s, lambda: self._finish_json(500, {"error": {"message": "told to fail"}}))
        elif ask.stream:
            self._transport.write(STREAM_HEAD)
            self._stream(ask, words(ask.number, ask.max_tokens), pace_s)
        else:
            self._after(pace_s * ask.max_tokens, lambda: self._finish_json(200, _whole(ask)))

    def _stream(self, ask: Ask, rest: list[str], pace_s: float) -> None:
        while rest:
            self._transport.write(_event([{"index": 0, "delta": {"content": rest.pop(0)}}]))
            if rest and pace_s:
                self._after(pace_s, lambda: self._stream(ask, rest, pace_s))
                return
        end = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _event([], usage=_usage(ask))
        self._transport.write(end + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._number = None

    def _finish_json(self, status: int, content: object) -> None:
        self._number = None
        self._write_json(status, content)

    def _write_json(self, status: int, content: object) -> None:
        body = msgspec.json.encode(content)
        head = b"HTTP/1.1 %d Answer\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        if seconds:
            self._timer = asyncio.get_running_loop().call_later(seconds, work)
        else:
            work()


def _whole(ask: Ask) -> object:
    message = {"role": "assistant", "content": "".join(words(ask.number, ask.max_tokens))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": _usage(ask)}


def _usage(ask: Ask) -> dict[str, int]:
    prompt = prompt_tokens(ask.prompt)
    return {"prompt_tokens": prompt, "completion_tokens": ask.max_tokens, "total_tokens": prompt + ask.max_tokens}


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    return _chunk(b"data: " + msgspec.json.encode({"choices": choices, **more}) + b"\n\n")


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


async def serve(path: str) -> None:
    """Serves until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    notebook = Notebook(path)
    server = await loop.create_server(lambda: Session(notebook), "127.0.0.1", 0, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
