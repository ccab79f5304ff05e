"""The floor: bare ASGI applications that do one thing, to show what the platform underneath costs.

`POST /hello` decodes a JSON body and answers 569 bytes; `POST /proxy` passes a request to the engine
through aiohttp and the bytes of the answer back. No key, no limit, no cache, no record.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import msgspec
from engine import Ask, plain_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_HEADERS = [(b"content-type", b"application/json")]


class Floor:
    """One ASGI application with both routes and one HTTP client."""

    def __init__(self, engine_url: str) -> None:
        self._engine_url = engine_url
        self._decode = msgspec.json.Decoder(Ask).decode
        self._hello = plain_body()
        self._client: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/proxy":
            await self._proxy(await _body(receive), send)
            return
        if scope["method"] == "POST":
            self._decode(await _body(receive))
        await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
        await send({"type": "http.response.body", "body": self._hello})

    async def _proxy(self, body: bytes, send: Send) -> None:
        if self._client is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._client = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        async with self._client.post(self._engine_url, data=body, headers={"content-type": "application/json"}) as got:
            headers = [(b"content-type", got.headers["content-type"].encode())]
            await send({"type": "http.response.start", "status": got.status, "headers": headers})
            async for part in got.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def app() -> Floor:
    """Factory for `uvicorn --factory`."""
    return Floor(os.environ["ENGINE_URL"])
