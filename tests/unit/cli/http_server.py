"""A web server in a thread that answers what it is told to."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """An answer; `length` announces another size than the body's, `release` is waited for before it is sent."""

    body: bytes
    status: int = 200
    length: int | None = None
    release: threading.Event | None = None


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def serving(replies: Mapping[str, Reply]) -> Iterator[tuple[str, list[Asked]]]:
    """Its address, and what it was asked so far."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            reply = replies.get(self.path, Reply(b"no such page", status=404))
            if reply.release is not None:
                reply.release.wait(10)
            self.send_response(reply.status)
            self.send_header("Content-Length", str(reply.length or len(reply.body)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
