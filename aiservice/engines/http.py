"""HTTP to engines: JSON in, bytes out, over TCP or a unix socket. The only file of the package that knows aiohttp.

`HttpClient` and `ByteStream` are all that engines see, so that another client can take this one's place. Failures
leave as `EngineError`s, waits are bounded by the call's `Deadline`.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from aiservice.core.errors import EngineTimeout
from aiservice.core.types import Deadline
from aiservice.engines import failures
from aiservice.engines.watch import Watch

UNIX_PREFIX = "unix:"
ERROR_BODY_BYTES_MAX = 65_536
KEEP_ALIVE_S = 30.0
DRAIN_S = 0.1
_SKIPPED_HEADERS = ("Accept", "Accept-Encoding", "User-Agent")
_FIXED_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": "aiservice",
}


class _StaleConnection(aiohttp.ClientConnectionError):
    """A connection that was kept from an earlier call was closed by the engine before it sent a byte of its answer."""


def _response_class() -> type[aiohttp.ClientResponse]:
    """A response that tells a stale kept connection from an engine that dies on a new one."""
    used: WeakSet[ResponseHandler] = WeakSet()

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            protocol = connection.protocol
            was_used = protocol in used
            try:
                await super().start(connection)
            except aiohttp.ServerDisconnectedError as error:
                # The message is text as long as no part of an answer has come in.
                if was_used and isinstance(error.message, str):
                    raise _StaleConnection from error
                raise
            except aiohttp.ClientOSError as error:
                if was_used:
                    raise _StaleConnection from error
                raise
            if protocol is not None:
                used.add(protocol)
            return self

    return Response


class ByteStream:
    """A streamed answer. Leaving the `with` block closes the connection unless the answer was read to its end."""

    __slots__ = ("_content", "_response", "_watch", "note_token")

    def __init__(self, response: aiohttp.ClientResponse, watch: Watch) -> None:
        self._response = response
        self._content = response.content
        self._watch = watch
        # To be called when a token was in the bytes: the limit between tokens is counted from there.
        self.note_token = watch.note_token

    def __enter__(self) -> "ByteStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.close()
        self._response.close()

    async def read(self) -> bytes:
        """The next bytes, b"" at the end; raises `EngineTimeout` or, when the connection breaks, `EngineError`."""
        try:
            with self._watch:
                return await self._content.readany()
        except aiohttp.ClientError as error:
            raise failures.cut(error) from error

    async def drain(self) -> None:
        """After the last token: waits a moment for the end, so that the connection can be used again."""
        if self._response.closed:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError):
            self._response.close()


class HttpClient:
    """A pool of connections to one engine. Base URLs: `http(s)://host[:port][/path]` or `unix:/path/of/socket`.

    `is_kept_alive` False makes a new connection for every call, for servers that close a kept one without a word.
    """

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None, is_kept_alive: bool = True) -> None:
        is_unix = base_url.startswith(UNIX_PREFIX)
        self._socket_path = base_url.removeprefix(UNIX_PREFIX) if is_unix else None
        self._base_url = "http://localhost" if is_unix else base_url.rstrip("/")
        self._headers = {**_FIXED_HEADERS, **(headers or {})}
        self._is_kept_alive = is_kept_alive
        self._urls: dict[str, URL] = {}
        self._timeout = aiohttp.ClientTimeout(total=None, connect=None)
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def get(self, path: str, *, timeout_s: float) -> bytes:
        """The body of a 2xx answer; raises `EngineError`s."""
        deadline = Deadline(timeout_s, timeout_s, timeout_s, timeout_s)
        return await self._whole("GET", path, None, deadline)

    async def post(self, path: str, body: bytes, deadline: Deadline) -> bytes:
        """Posts JSON and reads the whole answer within `deadline.total_s`; raises `EngineError`s."""
        return await self._whole("POST", path, body, deadline)

    async def stream(self, path: str, body: bytes, deadline: Deadline) -> ByteStream:
        """Posts JSON and returns when a 2xx head is there: `with await client.stream(...) as stream:`."""
        watch = Watch(deadline, is_streamed=True)
        try:
            return ByteStream(await self._open("POST", path, body, deadline=deadline, watch=watch), watch)
        except BaseException:
            # Whatever it was, a timer must not outlive its call.
            watch.close()
            raise

    async def aclose(self) -> None:
        for session in (self._kept, self._fresh):
            if session is not None:
                await session.close()
        self._kept = self._fresh = None

    async def _whole(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> bytes:
        watch = Watch(deadline, is_streamed=False)
        try:
            response = await self._open(method, path, body, deadline=deadline, watch=watch)
            try:
                with watch:
                    return await response.read()
            except aiohttp.ClientError as error:
                raise failures.cut(error) from error
            finally:
                response.close()
        finally:
            watch.close()

    async def _open(
        self, method: str, path: str, body: bytes | None, *, deadline: Deadline, watch: Watch
    ) -> aiohttp.ClientResponse:
        """The response once its head is there; raises for every status but 2xx."""
        if deadline.connect_s != self._timeout.connect:
            self._timeout = aiohttp.ClientTimeout(total=None, connect=deadline.connect_s)
        session = self._kept_session() if self._is_kept_alive else self._fresh_session()
        try:
            with watch:
                try:
                    response = await self._request(session, method, path, body=body)
                except _StaleConnection:
                    # The engine has not seen the request, so that asking once more is safe.
                    response = await self._request(self._fresh_session(), method, path, body=body)
        except EngineTimeout:
            raise
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise failures.unreachable(error) from error
        except aiohttp.ClientError as error:
            raise failures.broken(type(error).__name__) from error
        if response.status // 100 != 2:
            await _refuse(response, watch)
        return response

    async def _request(
        self, session: aiohttp.ClientSession, method: str, path: str, *, body: bytes | None
    ) -> aiohttp.ClientResponse:
        return await session.request(method, self._url(path), data=body, allow_redirects=False, timeout=self._timeout)

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base_url + path)
        return url

    def _kept_session(self) -> aiohttp.ClientSession:
        if self._kept is None:
            self._kept = self._session(is_kept_alive=True)
        return self._kept

    def _fresh_session(self) -> aiohttp.ClientSession:
        if self._fresh is None:
            self._fresh = self._session(is_kept_alive=False)
        return self._fresh

    def _session(self, *, is_kept_alive: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_connector(self._socket_path, is_kept_alive=is_kept_alive),
            headers=self._headers,
            skip_auto_headers=_SKIPPED_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_response_class(),
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
        )


def is_http_url(url: str) -> bool:
    """Whether a setting's text is an address that can be asked."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _connector(socket_path: str | None, *, is_kept_alive: bool) -> aiohttp.BaseConnector:
    keep_alive_s = KEEP_ALIVE_S if is_kept_alive else None
    if socket_path is not None:
        return aiohttp.UnixConnector(
            socket_path, limit=0, force_close=not is_kept_alive, keepalive_timeout=keep_alive_s
        )
    return aiohttp.TCPConnector(limit=0, force_close=not is_kept_alive, keepalive_timeout=keep_alive_s)


async def _refuse(response: aiohttp.ClientResponse, watch: Watch) -> None:
    body = bytearray()
    try:
        with watch:
            while len(body) < ERROR_BODY_BYTES_MAX and (chunk := await response.content.readany()):
                body += chunk
    except aiohttp.ClientError as error:
        raise failures.cut(error) from error
    finally:
        response.close()
    raise failures.from_status(response.status, bytes(body), response.headers.get("Retry-After"))
