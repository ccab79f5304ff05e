"""How a worker and the sandbox pool talk: length-prefixed msgpack over a unix socket.

A request is `length: u32, milliseconds until its deadline: u32, body`; an answer `length: u32, body`, big-endian.
"""

import struct
from collections.abc import Mapping

import msgspec

from aiservice.core.errors import (
    AIServiceError,
    DatabaseDown,
    DatabaseUnknown,
    FieldInvalid,
    InvalidRequest,
    Overloaded,
    SchemaInvalid,
    SqlTimeout,
    StatementRefused,
    Unexpected,
)
from aiservice.sqlassist.model import Answer, Brief, Grid, Query, Task

BODY_BYTES_MAX = 4 * 1_048_576
REQUEST = struct.Struct("!II")
ANSWER = struct.Struct("!I")
_ERRORS: Mapping[str, type[AIServiceError]] = {
    error.code: error
    for error in (
        DatabaseDown, DatabaseUnknown, FieldInvalid, InvalidRequest, Overloaded, SchemaInvalid, SqlTimeout,
        StatementRefused, Unexpected,
    )
}  # fmt: skip


class Assist(msgspec.Struct, tag="assist", frozen=True):
    """Asks for the answer to a task."""

    task: Task


class Ask(msgspec.Struct, tag="brief", frozen=True):
    """Asks what a model should be asked."""

    task: Task


class Run(msgspec.Struct, tag="run", frozen=True):
    """Asks for the rows of a statement."""

    query: Query


class Answered(msgspec.Struct, tag="answer", frozen=True):
    """The answer to `Assist`."""

    answer: Answer


class Briefed(msgspec.Struct, tag="brief", frozen=True):
    """The answer to `Ask`."""

    brief: Brief | None


class Listed(msgspec.Struct, tag="grid", frozen=True):
    """The answer to `Run`."""

    grid: Grid


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """An error of the tree, by its code; what is not of the tree is `server.unexpected`, its words in `detail`."""

    code: str
    public: str
    param: str | None = None
    detail: str | None = None

    @classmethod
    def of(cls, error: AIServiceError) -> "Failed":
        return cls(error.code, error.public, error.param, error.detail)

    def error(self) -> AIServiceError:
        kind = _ERRORS.get(self.code, Unexpected)
        retry_after_s = 1 if kind is Overloaded else None
        return kind(self.public, param=self.param, detail=self.detail, retry_after_s=retry_after_s)


Call = Assist | Ask | Run
Outcome = Answered | Briefed | Listed | Failed
encoder = msgspec.msgpack.Encoder()
calls: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
outcomes: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)
