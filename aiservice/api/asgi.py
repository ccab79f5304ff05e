"""Raw ASGI in small pieces: one request read, one answer sent."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from aiservice.core.errors import BodyTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
# Where a server that has made the dictionary already leaves it in the scope.
HEADERS_BY_NAME = "aiservice.headers_by_name"


class ClientGone(Exception):
    """The client closed the connection before the request was read."""


def request_headers(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers by lower-case name; of a repeated one the last."""
    by_name: dict[bytes, bytes] | None = scope.get(HEADERS_BY_NAME)
    return dict(scope["headers"]) if by_name is None else by_name


def peer_of(scope: Scope) -> str:
    """The address at the other end of the connection; `unix` where it has none."""
    client = scope.get("client")
    return client[0] if client else "unix"


async def read_body(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """The whole body; raises `BodyTooLarge` before more than the bound is held, `ClientGone` when it is cut."""
    refuse_large(headers, bytes_max)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        if len(body) > bytes_max:
            break
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
    if len(body) > bytes_max:
        raise BodyTooLarge(f"The request body is larger than {bytes_max} bytes.")
    return body


def refuse_large(headers: dict[bytes, bytes], bytes_max: int) -> None:
    """Raises `BodyTooLarge` when the announced length is above the bound."""
    announced = headers.get(b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > bytes_max:
        raise BodyTooLarge(f"The request body is larger than {bytes_max} bytes.")


async def send_bytes(send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """A whole answer; the length is added to the headers."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
