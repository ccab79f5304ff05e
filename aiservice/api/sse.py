"""Server-sent events: the framing of streams (HTML standard, section 9.2)."""

import msgspec

TYPE = "text/event-stream"
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()


def event(value: object, name: str | None = None) -> bytes:
    """One event: JSON escapes line ends, so a value is always one line."""
    if name is None:
        return b"data: " + _encoder.encode(value) + b"\n\n"
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encoder.encode(value))
