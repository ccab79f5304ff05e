"""A closed-loop load driver: `concurrency` keep-alive connections, each with one request under way.

    python bench/load.py < order.json

Reads an `Order` as JSON on standard input and prints a `Tally` as JSON. Every answer is checked: its
status and the text it must hold; of a stream every event is parsed and its words are counted, and the last
must be `[DONE]`. A request that is under way when the time is up is finished and counted, so that the
target's CPU time and the number of requests belong to each other.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import cast

import httptools
import msgspec
import uvloop

GRACE_S = 60.0
DATA = b"data: "
END_OF_STREAM = b"[DONE]"


class Order(msgspec.Struct, frozen=True):
    """What to send, how much of it, and what an answer must look like."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    concurrency: int
    duration_s: float
    mark: str = ""
    words_per_stream: int = 0
    method: str = "POST"

    @property
    def is_stream(self) -> bool:
        return self.words_per_stream > 0

    def encode(self) -> bytes:
        """The whole request as it goes over the wire."""
        body = self.body.encode()
        fields = {
            "host": f"127.0.0.1:{self.port}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Tally(msgspec.Struct):
    """The result of one run. `errors` counts failed requests by what was wrong with them, `events` those with words."""

    requests: int = 0
    words: int = 0
    events: int = 0
    duration_s: float = 0.0
    errors: dict[str, int] = {}
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    first_word_p50_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return self.requests / self.duration_s if self.duration_s else 0.0


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of the values do not exceed; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta


class Event(msgspec.Struct):
    """What an event of a stream may hold: choices as OpenAI's clients read them, or the native door's text."""

    choices: list[Choice] = []
    delta: str = ""

    @property
    def text(self) -> str:
        return "".join(choice.delta.content or "" for choice in self.choices) or self.delta


class WordCounter:
    """Reads one event stream as a client does: each event is parsed, its text searched for words.

    `events` counts those with words; an event that cannot be parsed sets `is_broken`.
    """

    __slots__ = ("_decode", "_mark", "_rest", "events", "has_ended", "is_broken", "words")

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._rest = b""
        self._decode = msgspec.json.Decoder(Event).decode
        self.words = 0
        self.events = 0
        self.has_ended = False
        self.is_broken = False

    def feed(self, data: bytes) -> None:
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            self._read(event)

    def _read(self, event: bytes) -> None:
        if event.startswith(b":"):
            return
        if not event.startswith(DATA) or self.has_ended:
            self.is_broken = True
            return
        payload = event[len(DATA) :]
        if payload == END_OF_STREAM:
            self.has_ended = True
            return
        try:
            count = self._decode(payload).text.count(self._mark)
        except msgspec.MsgspecError:
            self.is_broken = True
            return
        self.words += count
        self.events += count > 0


class Run:
    """What the connections share: the order, the deadline and the measurements."""

    def __init__(self, order: Order) -> None:
        self.loop = asyncio.get_running_loop()
        self.order = order
        self.request = order.encode()
        self.mark = order.mark.encode()
        self.started_s = time.perf_counter()
        self.deadline_s = self.started_s + order.duration_s
        self.latencies_s: list[float] = []
        self.first_words_s: list[float] = []
        self.errors: Counter[str] = Counter()
        self.words = 0
        self.events = 0
        self.last_s = self.started_s
        self.open = order.concurrency
        self.finished = asyncio.Event()
        self.connecting: set[asyncio.Task[None]] = set()

    def connect(self) -> None:
        task = self.loop.create_task(self._connect())
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: Connection(self), "127.0.0.1", self.order.port)
        except OSError:
            self.errors["refused"] += 1
            await asyncio.sleep(0.05)
            self.reopen()

    def reopen(self) -> None:
        """Connects again while there is time, else lets this connection end."""
        if time.perf_counter() < self.deadline_s:
            self.connect()
        else:
            self.leave()

    def leave(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.finished.set()

    def tally(self) -> Tally:
        return Tally(
            requests=len(self.latencies_s),
            words=self.words,
            events=self.events,
            duration_s=self.last_s - self.started_s,
            errors=dict(self.errors),
            p50_ms=percentile(self.latencies_s, 0.50) * 1000,
            p99_ms=percentile(self.latencies_s, 0.99) * 1000,
            first_word_p50_ms=percentile(self.first_words_s, 0.50) * 1000,
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection: sends, checks the answer, sends again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._is_busy = False
        self._is_done = False
        self._sent_s = 0.0
        self._body: list[bytes] = []
        self._counter = WordCounter("")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, so the type cannot be asked for at run time.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_done:
            return
        if self._is_busy:
            self._run.errors["closed"] += 1
        self._run.reopen()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._run.errors["malformed"] += 1
            self._is_busy = False
            self._close()

    def on_body(self, body: bytes) -> None:
        if not self._run.order.is_stream:
            self._body.append(body)
            return
        if self._parser.get_status_code() != 200:
            return
        before = self._counter.words
        self._counter.feed(body)
        if before == 0 and self._counter.words:
            self._run.first_words_s.append(time.perf_counter() - self._sent_s)

    def on_message_complete(self) -> None:
        self._is_busy = False
        fault = self._fault()
        if fault:
            self._run.errors[fault] += 1
        else:
            self._run.last_s = time.perf_counter()
            self._run.latencies_s.append(self._run.last_s - self._sent_s)
        self._run.words += self._counter.words
        self._run.events += self._counter.events
        if time.perf_counter() >= self._run.deadline_s:
            self._is_done = True
            self._run.leave()
            self._close()
        elif self._parser.should_keep_alive():
            self._send()
        else:
            self._close()

    def _fault(self) -> str:
        status = self._parser.get_status_code()
        if status != 200:
            return f"status {status}"
        if self._run.order.is_stream:
            if self._counter.is_broken:
                return "event broken"
            if self._counter.words != self._run.order.words_per_stream:
                return "words missing"
            return "" if self._counter.has_ended else "end missing"
        return "" if self._run.mark in b"".join(self._body) else "other body"

    def _send(self) -> None:
        assert self._transport is not None
        self._body = []
        self._counter = WordCounter(self._run.order.mark)
        self._parser = httptools.HttpResponseParser(self)
        self._is_busy = True
        self._sent_s = time.perf_counter()
        self._transport.write(self._run.request)

    def _close(self) -> None:
        assert self._transport is not None
        self._transport.close()


async def drive(order: Order) -> Tally:
    """Carries out the order; whatever is still under way `GRACE_S` after its time counts as an error."""
    run = Run(order)
    for _ in range(order.concurrency):
        run.connect()
    try:
        await asyncio.wait_for(run.finished.wait(), order.duration_s + GRACE_S)
    except TimeoutError:
        run.errors["unfinished"] += run.open
    return run.tally()


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(drive(order))) + b"\n")


if __name__ == "__main__":
    main()
