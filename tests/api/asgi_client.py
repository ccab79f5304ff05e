"""Speaks ASGI to the application in this process: whole answers, streams, odd bodies and clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]


@dataclass
class Response:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    def header(self, name: str) -> str | None:
        return next((value for other, value in self.headers if other == name.lower()), None)

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event, parsed; [DONE] stays text."""
        lines = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Client:
    """One client with an address; `key` and `admin_key` are sent where they are set."""

    def __init__(
        self, app: Any, *, key: str | None = None, ip: str = "127.0.0.1", host: str = "127.0.0.1:5001"
    ) -> None:
        self.app = app
        self.key = key
        self.ip = ip
        self.host = host

    async def get(self, path: str, **options: Any) -> Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Response:
        return await self.request("POST", path, body=body, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str | None] | None = None,
        leave_after_s: float | None = None,
        leave_after_chunks: int | None = None,
        leave: asyncio.Event | None = None,
    ) -> Response:
        """Sends a request; a body that is not bytes is sent as JSON. `leave*` closes the connection then."""
        response = Response()
        gone = leave or asyncio.Event()
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        requests = iter([{"type": "http.request", "body": content, "more_body": False}])

        async def receive() -> Message:
            message = next(requests, None)
            if message is None:
                await gone.wait()
                return {"type": "http.disconnect"}
            return message

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status = message["status"]
                response.headers = [(name.decode().lower(), value.decode()) for name, value in message["headers"]]
            elif chunk := message.get("body", b""):
                response.chunks.append(chunk)
            if leave_after_chunks is not None and len(response.chunks) >= leave_after_chunks:
                gone.set()
                await asyncio.sleep(0)

        if leave_after_s is not None:
            asyncio.get_running_loop().call_later(leave_after_s, gone.set)
        await self.app(self._scope(method, path, content, headers or {}), receive, send)
        return response

    def _scope(self, method: str, path: str, content: bytes, headers: dict[str, str | None]) -> Message:
        path, _, query = path.partition("?")
        sent: dict[str, str | None] = {"host": self.host}
        if content or method == "POST":
            sent |= {"content-type": "application/json", "content-length": str(len(content))}
        if self.key is not None:
            sent["x-api-key"] = self.key
        sent |= {name.lower(): value for name, value in headers.items()}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items() if value is not None],
            "client": (self.ip, 50000),
            "server": ("127.0.0.1", 5001),
            "state": {},
        }


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """The application between its lifespan's start and end, as a server would run it."""
    sent: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.create_task(app(scope, sent.get, heard.put))
    await sent.put({"type": "lifespan.startup"})
    started = await heard.get()
    assert started["type"] == "lifespan.startup.complete", started
    try:
        yield app
    finally:
        await sent.put({"type": "lifespan.shutdown"})
        stopped = await heard.get()
        assert stopped["type"] == "lifespan.shutdown.complete", stopped
        await life
