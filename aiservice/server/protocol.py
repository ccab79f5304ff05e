"""HTTP/1.1 for a worker: what uvicorn's server makes for each connection.

    bytes -> httptools -> `HttpProtocol` -> `Exchange` -> the application, and back through the exchange

A connection's requests are answered one after another, also when a client sends the next one early. What is no
HTTP/1.1, or could be read in two ways, is a 400 and the end of the connection. Reading pauses while more than 64 KiB
of a body wait to be taken, or a next request waits; writing waits while the client does not read.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from aiservice.api.asgi import HEADERS_BY_NAME, Headers, Scope
from aiservice.core.errors import AIServiceError, InvalidRequest
from aiservice.server import heads
from aiservice.server.exchange import Exchange, refusal
from aiservice.server.heads import HEAD_BYTES_MAX

WAITING_BYTES_MAX = 65_536
HELD_BYTES_MAX = 65_536

_ASGI: Mapping[str, str] = {"version": "3.0", "spec_version": "2.3"}

log = logging.getLogger(__name__)


class HttpProtocol(asyncio.Protocol):
    """One connection. It is closed when `_deadline_s` passes, which is never while a request is being answered.

    Deadlines for clients that send or read slowly belong there too: one timer looks at it now and then.
    """

    # How long the rest of a body may take that the answer did not wait for.
    leftover_s: ClassVar[float] = 5.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.is_choked = False
        self._held = b""
        self._loop = _loop or asyncio.get_running_loop()
        self._app = config.loaded_app
        self._keep_alive_s = config.timeout_keep_alive
        self._server_state = server_state
        # The server only asks for what it calls: `shutdown`.
        self._connections = cast(set["HttpProtocol"], server_state.connections)
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._app_state = app_state

        self._url = b""
        self._headers: Headers = []
        # How much has come since the last whole head or piece of body.
        self._loose_bytes = 0
        # How the body is framed of a request that offers another protocol; empty for none, None for no such request.
        self._passed_over: bytes | None = None
        self._reading: Exchange | None = None
        self._answering: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._is_deaf = False
        self._is_paused = False
        self._writable: asyncio.Event | None = None
        self._deadline_s = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = math.inf
        self._default_headers: Headers = []
        self._default_lines = b""

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, so the type cannot be asked for at run time.
        self._transport = cast(asyncio.Transport, transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._connections.add(self)
        self._close_in(self._keep_alive_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._is_deaf = True
        self._held = b""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.leave()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._loose_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            log.info("malformed request: %s", error.__context__ or error)
            self._refuse(InvalidRequest("This is not a well-formed HTTP/1.1 request."))
            return
        if self._loose_bytes > HEAD_BYTES_MAX:
            self._refuse(InvalidRequest(f"The request's head is larger than {HEAD_BYTES_MAX} bytes."))

    def pause_writing(self) -> None:
        self.is_choked = True
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        self.is_choked = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self._passed_over is not None:
            return
        url, self._url = self._url, b""
        headers, self._headers = self._headers, []
        names = dict(headers)
        version = self._parser.get_http_version()
        if version != "1.1" or b"host" not in names or len(names) < len(headers) or self._loose_bytes > HEAD_BYTES_MAX:
            heads.ensure_sound(version, url, headers, names=names)
        self._loose_bytes = 0
        method = self._parser.get_method().decode("ascii")
        path, raw_path, query = heads.target(method, url)
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "scheme": "http",
            "client": self._client,
            "server": self._server,
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            HEADERS_BY_NAME: names,
            "state": self._app_state.copy(),
        }
        is_kept = version == "1.1" and self._parser.should_keep_alive()
        asks_to_continue = names.get(b"expect", b"").lower() == b"100-continue"
        exchange = Exchange(self, scope, is_kept=is_kept, asks_to_continue=asks_to_continue)
        self._reading = exchange
        if b"upgrade" in names and self._parser.should_upgrade():
            self._passed_over = heads.framing(names)
        if self._answering is None:
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self._balance()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        assert self._reading is not None
        self._reading.feed(body)
        if self._reading.waiting_bytes > WAITING_BYTES_MAX:
            self._balance()

    def on_message_complete(self) -> None:
        if self._passed_over:
            return
        self._loose_bytes = 0
        # Trailers of a chunked body come as headers too; nobody asked for them.
        self._headers = []
        exchange, self._reading = self._reading, None
        assert exchange is not None
        exchange.complete()
        if exchange.is_answered:
            self._close_in(self._keep_alive_s)

    # What an exchange calls.

    @property
    def default_lines(self) -> bytes:
        """The headers of every answer, as text; the server renews them each second."""
        headers = self._server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._default_lines

    def write(self, data: bytes) -> None:
        """What is said in one turn of the loop goes out at its end, to all connections one after another.

        Each write between the work of two requests would wake its reader alone, which costs more than the write.
        """
        if self._held:
            data, self._held = self._held + data, b""
        elif len(data) <= HELD_BYTES_MAX:
            self._held = data
            self._loop.call_soon(self._release)
            return
        self._transport.write(data)

    async def writable(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def taken(self) -> None:
        if self._is_paused:
            self._balance()

    def answered(self, exchange: Exchange) -> None:
        self._answering = None
        if not exchange.is_kept:
            self._waiting.clear()
            self._hang_up(is_read=exchange.is_read)
        elif self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._close_in(self._keep_alive_s if exchange.is_read else self.leftover_s)
        if self._is_paused:
            self._balance()

    # What the server calls.

    def shutdown(self) -> None:
        """Closes once the answer under way, if there is one, is out."""
        if self._answering is None:
            self._close()
        else:
            self._answering.is_kept = False

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
                self._pass_over_upgrade()
            else:
                return

    def _pass_over_upgrade(self) -> None:
        """No other protocol is spoken here, so the client's offer of one changes nothing.

        The parser believes that its request ends with the head; a second head, which nobody hears of, makes it read
        the body.
        """
        framing, self._passed_over = self._passed_over, b""
        if framing:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._url, self._headers, self._passed_over = b"", [], None

    def _start(self, exchange: Exchange) -> None:
        self._answering = exchange
        self._deadline_s = math.inf
        task = self._loop.create_task(self._app(exchange.scope, exchange.receive, exchange.send))
        tasks = self._server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(exchange.ended)

    def _refuse(self, error: AIServiceError) -> None:
        """From here on nothing is understood; what was asked before is still answered."""
        self._is_deaf = True
        broken, self._reading = self._reading, None
        if broken is not None and broken is self._answering:
            broken.cut(error)
            return
        if self._waiting and broken is self._waiting[-1]:
            self._waiting.pop()
        last = self._waiting[-1] if self._waiting else self._answering
        if last is not None:
            last.is_kept = False
            return
        if broken is None:
            self.write(refusal(error))
        self._hang_up(is_read=False)

    def _hang_up(self, *, is_read: bool) -> None:
        """Closes; while the client still sends, only once it has had time to read the answer."""
        if self._transport.is_closing():
            return
        if is_read and not self._is_deaf:
            self._close()
            return
        self._is_deaf = True
        self._release()
        self._transport.write_eof()
        self._close_in(self.leftover_s)

    def _release(self) -> None:
        data, self._held = self._held, b""
        if data:
            self._transport.write(data)

    def _close(self) -> None:
        self._release()
        self._transport.close()

    def _balance(self) -> None:
        """Reads on, or stops while more waits than should."""
        reading = self._reading
        is_full = bool(self._waiting) or (reading is not None and reading.waiting_bytes > WAITING_BYTES_MAX)
        if is_full == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = is_full
        if is_full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _close_in(self, seconds: float) -> None:
        """A timer costs more than the look at the clock, so a later deadline leaves the one that runs as it is."""
        self._deadline_s = self._loop.time() + seconds
        if self._deadline_s < self._timer_due_s:
            self._look_at(self._deadline_s)

    def _look_at(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = self._loop.call_at(due_s, self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        if now_s >= self._deadline_s:
            self._close()
        else:
            self._look_at(min(self._deadline_s, now_s + self._keep_alive_s))


def _address(info: object) -> tuple[str, int] | None:
    """Host and port of a socket's end; None for one that has no such thing."""
    return (info[0], info[1]) if isinstance(info, tuple) else None
