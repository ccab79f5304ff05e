"""The outermost ring: every request gets its id, CORS and body bounds here, and every last error an answer."""

import re

from aiservice.api.asgi import App, Headers, Message, Receive, Scope, Send, request_headers, send_bytes
from aiservice.api.errors import note, send_error, unexpected
from aiservice.api.surfaces import SHOWN_ID
from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError
from aiservice.core.ids import uuid7
from aiservice.core.settings import ServerSettings
from aiservice.observe import REQUEST_ID
from aiservice.observe.metrics import Metrics

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ALLOWED_METHODS = b"GET, POST, PUT, DELETE"
_ALLOWED_HEADERS = (
    b"authorization, content-type, x-api-key, api-key, x-admin-key, x-request-id, cache-control, idempotency-key, "
    b"anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, "
    b"openai-organization, openai-project, openai-beta"
)
# What the official clients tell of themselves, each in a header of its own.
_CLIENT_HEADER = re.compile(rb"x-stainless-[a-z-]{1,40}")
_EXPOSED_HEADERS = (
    b"x-request-id, request-id, x-cache, age, x-should-retry, retry-after-ms, retry-after, idempotent-replayed, "
    b"ratelimit, ratelimit-policy, "
    b"x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, "
    b"anthropic-ratelimit-tokens-limit, anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset"
)
_PREFLIGHT_MAX_AGE_S = b"600"


class Edge:
    """Pure ASGI; wraps the whole application."""

    def __init__(self, app: App, settings: ServerSettings, *, keyed: App, metrics: Metrics, clock: Clock) -> None:
        """`keyed` takes the POSTs with an Idempotency-Key."""
        self._app = app
        self._keyed = keyed
        self._metrics = metrics
        self._clock = clock
        self._allows_any = "*" in settings.allowed_origins
        self._origins = frozenset(origin.encode() for origin in settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = request_headers(scope)
        started_s = self._clock.monotonic_s()
        scope["request_id"] = uuid7(self._clock.now_us())
        shown_id = scope[SHOWN_ID] = _shown_id(headers, scope["request_id"])
        REQUEST_ID.set(shown_id)
        response = _Response(send, [(b"x-request-id", shown_id.encode()), *self._cors(headers)])
        self._metrics.request_opened()
        try:
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await self._preflight(headers, response)
            elif b"idempotency-key" in headers and scope["method"] == "POST":
                await self._keyed(scope, receive, response.send)
            else:
                await self._app(scope, receive, response.send)
        except AIServiceError as error:
            note(error)
            await response.fail(scope, error)
        except Exception as error:  # noqa: BLE001 - the last handler: the client gets an answer, the log the trace
            await response.fail(scope, unexpected(error))
        finally:
            self._metrics.request_closed()
            self._metrics.request(_endpoint(scope), response.status, self._clock.monotonic_s() - started_s)

    def _cors(self, headers: dict[bytes, bytes]) -> Headers:
        origin = headers.get(b"origin")
        if origin is None or not (self._allows_any or origin in self._origins):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
            (b"vary", b"Origin"),
        ]

    async def _preflight(self, headers: dict[bytes, bytes], response: "_Response") -> None:
        """The browser's question before a request from another origin; without a known origin it gets no permission."""
        allowed: Headers = []
        if self._cors(headers):
            allowed = [
                (b"access-control-allow-methods", _ALLOWED_METHODS),
                (b"access-control-allow-headers", b", ".join([_ALLOWED_HEADERS, *_client_headers(headers)])),
                (b"access-control-max-age", _PREFLIGHT_MAX_AGE_S),
            ]
        await send_bytes(response.send, 204 if allowed else 403, b"", headers=allowed)


class _Response:
    """The answer on its way out: gets the edge's headers, and an error if it has not begun."""

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers]
        await self._send(message)

    async def fail(self, scope: Scope, error: AIServiceError) -> None:
        """Answers with the error; where the answer has begun, the server cuts it so that it cannot pass as whole."""
        if self.status:
            raise error
        await send_error(scope, self.send, error)


def _endpoint(scope: Scope) -> str:
    """The path as it is registered, with its parameters' names."""
    route = scope.get("route")
    path: str = scope["path"] if route is None else route.path_format
    return path


def _client_headers(headers: dict[bytes, bytes]) -> list[bytes]:
    asked = headers.get(b"access-control-request-headers", b"").lower().split(b",")
    return [name.strip() for name in asked if _CLIENT_HEADER.fullmatch(name.strip())]


def _shown_id(headers: dict[bytes, bytes], own: str) -> str:
    """The caller's X-Request-ID if it is of the accepted form, else our own."""
    given = headers.get(b"x-request-id")
    return given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else own
