"""Counts what a client sends, so that a test can tell how often it tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

_HOP = frozenset({"connection", "content-length", "host", "transfer-encoding"})


class Wire:
    """Stands between a client and the service and passes everything on; `requests` is what went through."""

    def __init__(self, target: str) -> None:
        self.requests: list[tuple[str, str]] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                wire.requests.append((self.path, self.headers.get("x-stainless-retry-count", "")))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                answer = httpx.post(target + self.path, content=body, headers=headers, timeout=60)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *args: object) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def run(self) -> Thread:
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def wire_to(target: str) -> Iterator[Wire]:
    wire = Wire(target)
    thread = wire.run()
    try:
        yield wire
    finally:
        wire.close()
        thread.join()
