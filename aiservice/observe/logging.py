"""Log lines on standard error: JSON for machines, a short line for a person at a terminal.

Rooms log through the standard `logging`: a fixed sentence as the message, values in `extra`.
"""

import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

from aiservice.observe.redaction import redacted, redacted_text

LogStyle = Literal["json", "human"]
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

TEXT_LENGTH_MAX = 8_192
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def configure_logging(*, level: str, style: LogStyle, stream: TextIO = sys.stderr) -> None:
    """Sends every log line to one stream; `level` is the least severity of our own lines, others start at warning."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else HumanFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("aiservice").setLevel(level.upper())
    logging.captureWarnings(capture=True)


def style_for(stream: TextIO, *, is_development: bool) -> LogStyle:
    """Human lines in development on a terminal, JSON everywhere else."""
    return "human" if is_development and stream.isatty() else "json"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, pid, request_id, the values of `extra`, the error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(redacted_text(record.getMessage())),
            "pid": record.process,
        }
        if (request_id := REQUEST_ID.get()) is not None:
            line["request_id"] = request_id
        line.update({name: value for name, value in _fields(record).items() if name not in line})
        if (error := _error(record)) is not None:
            line["traceback"] = error
        return json.dumps(line).replace("\x7f", "\\u007f")


class HumanFormatter(logging.Formatter):
    """`12:30:05 warning  event  name=value`, and a traceback below where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = {**_fields(record), "request_id": REQUEST_ID.get()}
        said = [f"{name}={value}" for name, value in fields.items() if value is not None]
        event = _cut(redacted_text(record.getMessage()))
        text = _escaped("  ".join([f"{clock} {record.levelname.lower():<7} {event}", *said]))
        if (error := _error(record)) is not None:
            text += "".join("\n    " + _escaped(line) for line in error.splitlines())
        return text


def _fields(record: logging.LogRecord) -> dict[str, object]:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    values = redacted(extra)
    assert isinstance(values, dict)
    return {name: _cut(value) if isinstance(value, str) else value for name, value in values.items()}


def _error(record: logging.LogRecord) -> str | None:
    """The traceback: file, line and error, never the values of variables."""
    if record.exc_info is None or record.exc_info[0] is None:
        return None
    return _cut(redacted_text("".join(traceback.format_exception(*record.exc_info))), keep_end=True)


def _cut(text: str, *, keep_end: bool = False) -> str:
    if len(text) <= TEXT_LENGTH_MAX:
        return text
    return "..." + text[-TEXT_LENGTH_MAX:] if keep_end else text[:TEXT_LENGTH_MAX] + "..."


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
