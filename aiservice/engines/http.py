"""HTTP to engines: JSON in, bytes out, over TCP, TLS or a unix socket.

`HttpClient` and `ByteStream` are all that engines see, so that another client can take this one's place. Failures
leave as `EngineError`s, waits are bounded by the call's `Deadline`.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from urllib.parse import unquote, urlsplit

from aiservice.core.errors import EngineTimeout
from aiservice.core.types import Deadline
from aiservice.engines import failures
from aiservice.engines.connection import ConnectionBroken, EngineConnection, StaleConnection
from aiservice.engines.watch import Watch

UNIX_PREFIX = "unix:"
ERROR_BODY_BYTES_MAX = 65_536
KEEP_ALIVE_S = 30.0
IDLE_MAX = 256
DRAIN_S = 0.1
_FIXED_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": "aiservice",
}


class ByteStream:
    """A streamed answer. Leaving the `with` block closes the connection unless the answer was read to its end."""

    __slots__ = ("_client", "_connection", "_watch", "note_token")

    def __init__(self, client: "HttpClient", connection: EngineConnection, watch: Watch) -> None:
        self._client = client
        self._connection = connection
        self._watch = watch
        # To be called when a token was in the bytes: the limit between tokens is counted from there.
        self.note_token = watch.note_token

    def __enter__(self) -> "ByteStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.close()
        self._client.release(self._connection)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end; raises `EngineTimeout` or, when the connection breaks, `EngineError`."""
        try:
            with self._watch:
                return await self._connection.read()
        except ConnectionBroken as error:
            raise failures.cut(error) from error

    async def drain(self) -> None:
        """After the last token: waits a moment for the end, so that the connection can be used again."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._connection.read():
                    pass
        except (TimeoutError, ConnectionBroken):
            self._connection.close()


class HttpClient:
    """A pool of connections to one engine. Base URLs: `http(s)://host[:port][/path]` or `unix:/path/of/socket`.

    `is_kept_alive` False makes a new connection for every call, for servers that close a kept one without a word.
    The connection used last is used next; one that was idle for 30 s is not used again.
    """

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None, is_kept_alive: bool = True) -> None:
        self._address = _Address(base_url)
        self._headers = {**self._address.headers, **_FIXED_HEADERS, **(headers or {})}
        self._is_kept_alive = is_kept_alive
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: list[EngineConnection] = []

    async def get(self, path: str, *, timeout_s: float) -> bytes:
        """The body of a 2xx answer; raises `EngineError`s."""
        return await self._whole("GET", path, b"", deadline=Deadline(timeout_s, timeout_s, timeout_s, timeout_s))

    async def post(self, path: str, body: bytes, deadline: Deadline) -> bytes:
        """Posts JSON and reads the whole answer within `deadline.total_s`; raises `EngineError`s."""
        return await self._whole("POST", path, body, deadline=deadline)

    async def stream(self, path: str, body: bytes, deadline: Deadline) -> ByteStream:
        """Posts JSON and returns when a 2xx head is there: `with await client.stream(...) as stream:`."""
        watch = Watch(deadline, is_streamed=True)
        with ExitStack() as failing:
            failing.callback(watch.close)
            connection = await self._call("POST", path, body, deadline=deadline, watch=watch, is_whole=False)
            if connection.status // 100 != 2:
                await self._refuse(connection, watch)
            failing.pop_all()
        return ByteStream(self, connection, watch)

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def release(self, connection: EngineConnection) -> None:
        """Keeps a connection whose answer was read to its end; closes any other."""
        if self._is_kept_alive and connection.is_reusable and len(self._idle) < IDLE_MAX:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    async def _whole(self, method: str, path: str, body: bytes, *, deadline: Deadline) -> bytes:
        watch = Watch(deadline, is_streamed=False)
        try:
            connection = await self._call(method, path, body, deadline=deadline, watch=watch, is_whole=True)
            if connection.status // 100 != 2:
                await self._refuse(connection, watch)
            try:
                with watch:
                    return await connection.whole()
            except ConnectionBroken as error:
                raise failures.cut(error) from error
            finally:
                self.release(connection)
        finally:
            watch.close()

    async def _call(
        self, method: str, path: str, body: bytes, *, deadline: Deadline, watch: Watch, is_whole: bool
    ) -> EngineConnection:
        """A connection with the answer's head on it, or with all of the answer where `is_whole` asks for it."""
        request = self._request(method, path, body)
        try:
            with watch:
                try:
                    return await self._exchange(self._kept() or await self._connect(deadline), request, is_whole)
                except StaleConnection:
                    # The engine has not seen the request, so that asking once more is safe.
                    return await self._exchange(await self._connect(deadline), request, is_whole)
        except EngineTimeout:
            raise
        except ConnectionBroken as error:
            raise (failures.cut(error) if error.has_head else failures.unreachable(error)) from error
        except OSError as error:
            raise failures.unreachable(error) from error

    async def _exchange(self, connection: EngineConnection, request: bytes, is_whole: bool) -> EngineConnection:
        is_answered = False
        try:
            connection.send(request)
            if is_whole:
                await connection.arrived()
            else:
                await connection.head()
            is_answered = True
        finally:
            # Also when the call is cancelled: the engine must not go on working for it.
            if not is_answered:
                connection.close()
        return connection

    def _kept(self) -> EngineConnection | None:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed and now_s - connection.idle_since_s < KEEP_ALIVE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, deadline: Deadline) -> EngineConnection:
        """A new connection; an engine that takes longer than `connect_s` to accept it counts as unreachable."""
        try:
            async with asyncio.timeout(deadline.connect_s):
                return await self._address.connect()
        except TimeoutError as error:
            raise ConnectionBroken(f"no connection within {deadline.connect_s:g} s", has_head=False) from error

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            lines = [f"{method} {self._address.path}{path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in self._headers.items()]
            head = self._heads[method, path] = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    async def _refuse(self, connection: EngineConnection, watch: Watch) -> None:
        body = bytearray()
        try:
            with watch:
                while len(body) < ERROR_BODY_BYTES_MAX and (part := await connection.read()):
                    body += part
        except ConnectionBroken as error:
            raise failures.cut(error) from error
        finally:
            self.release(connection)
        raise failures.from_status(connection.status, bytes(body), connection.retry_after)


class _Address:
    """Where an engine listens."""

    def __init__(self, base_url: str) -> None:
        self._socket_path = base_url.removeprefix(UNIX_PREFIX) if base_url.startswith(UNIX_PREFIX) else None
        parts = urlsplit("http://localhost" if self._socket_path else base_url.rstrip("/"))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if self._tls else 80)
        self.path = parts.path
        self.headers = {"Host": parts.netloc.rpartition("@")[2]}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.headers["Authorization"] = "Basic " + b64encode(login.encode()).decode()

    async def connect(self) -> EngineConnection:
        """Raises `OSError` when nobody listens there."""
        loop = asyncio.get_running_loop()
        if self._socket_path is not None:
            _, connection = await loop.create_unix_connection(lambda: EngineConnection(loop), self._socket_path)
        else:
            # Without happy_eyeballs_delay, which uvloop does not take.
            _, connection = await loop.create_connection(
                lambda: EngineConnection(loop), self._host, self._port, ssl=self._tls
            )
        return connection


def is_http_url(url: str) -> bool:
    """Whether a setting's text is an address that can be asked."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
