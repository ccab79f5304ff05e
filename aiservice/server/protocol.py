"""HTTP/1.1 for a worker: uvicorn's protocol, with whole answers written at once.

uvicorn writes an answer's head and its body apart, and checks each header by two regular expressions: two system calls
and some 25 us where one and 5 do. Streams, HEAD and everything unusual go uvicorn's way.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_STATUS_LINES: Mapping[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_WITHOUT_BODY = (204, 304)


class WorkerProtocol(HttpToolsProtocol):
    """What uvicorn makes for each connection. Deadlines for slow clients belong here."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.send = JoinedSend(cycle)  # type: ignore[method-assign]
        super()._start_asgi_task(cycle, app)


class JoinedSend:
    """ASGI's `send` that holds an answer's head until its first piece of body, and writes both as one."""

    __slots__ = ("_cycle", "_head", "_send")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._head: Any = None

    async def __call__(self, message: Any) -> None:
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            self._head = message
            return
        if head is not None:
            if not message.get("more_body", False) and self._is_plain(head):
                self._write(head, message.get("body", b""))
                return
            await self._send(head)
        await self._send(message)

    def _is_plain(self, head: Any) -> bool:
        """Whether the head and its only piece of body may be written as they are."""
        cycle = self._cycle
        names = {name for name, _ in head["headers"]}
        return (
            not cycle.response_started
            and not cycle.disconnected
            and not cycle.flow.write_paused
            and cycle.scope["method"] != "HEAD"
            and head["status"] not in _WITHOUT_BODY
            and b"content-length" in names
            and not names & {b"connection", b"transfer-encoding"}
        )

    def _write(self, head: Any, body: bytes) -> None:
        cycle = self._cycle
        lines = [_STATUS_LINES[head["status"]]]
        headers = [*cycle.default_headers, *head["headers"]]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        text = b"".join(lines)
        if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines):
            raise ValueError("a header has a line end in it")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"%b\r\n%b" % (text, body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
