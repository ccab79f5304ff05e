"""Lines and server-sent events out of chunks of bytes, in time linear in their length however they are cut."""

from aiservice.core.errors import EngineError

LINE_BYTES_MAX = 8 * 1024 * 1024


class LineSplitter:
    """Gives the complete lines of a stream, without their ends (\\n or \\r\\n) and without the empty ones.

    Raises `EngineError` for a line above `LINE_BYTES_MAX`.
    """

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        lines = chunk.split(b"\n")
        last = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if last:
            self._keep(last)
        return [stripped for line in lines if (stripped := line.rstrip(b"\r"))]

    def rest(self) -> bytes:
        """What follows the last line end, once the stream has ended."""
        return b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > LINE_BYTES_MAX:
            raise EngineError("The engine sent a line that is too long.", detail=f"over {LINE_BYTES_MAX} bytes")


class EventSplitter:
    """Gives the payloads of `data:` lines. Engines put one JSON value on one line, so that an event is one line;
    comments and other fields are left out."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = LineSplitter()

    def feed(self, chunk: bytes) -> list[bytes]:
        return [line[5:].strip() for line in self._lines.feed(chunk) if line.startswith(b"data:")]
