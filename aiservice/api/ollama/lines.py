"""Ollama's answers: the lines of a stream (NDJSON), what ends one, and the times and counts that it tells.

The corridor knows when the first piece of an answer came and when its last. So `prompt_eval_duration` is the time until
the first piece, with what the request waited for the engine, and `eval_duration` the rest. Where all came in one piece,
from the cache or of an engine that answers whole, the split is not known: all of it is `eval_duration` then. Loading a
model is not told apart: `load_duration` is 0.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from aiservice.api.hot import Reply
from aiservice.api.ollama.content import OllamaCall, calls_of
from aiservice.api.rooms import Rooms
from aiservice.core.clock import Clock
from aiservice.core.types import Chunk, FinishReason, Logprob, merged
from aiservice.gateway import Answer, Visit

_Request = TypeVar("_Request")
NDJSON = "application/x-ndjson"
HEADERS = (
    (b"content-type", NDJSON.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_SECOND_US = 1_000_000
_SECOND_NS = 1_000_000_000

encode = msgspec.json.Encoder().encode


class OllamaTokenLogprob(msgspec.Struct):
    """A token and how likely it was."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET


class OllamaLogprob(OllamaTokenLogprob):
    """A token of the answer, and the likeliest in its place where they were asked for."""

    top_logprobs: list[OllamaTokenLogprob] | msgspec.UnsetType = msgspec.UNSET


class OllamaEnd(msgspec.Struct, kw_only=True):
    """What the end of an answer tells: durations in nanoseconds, and the engine's counts of tokens."""

    model: str
    created_at: str
    done: Literal[True] = True
    done_reason: Literal["stop", "length", "content_filter", "load"]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int


def moment(us: int) -> str:
    """Microseconds since the epoch as Ollama writes a time."""
    return f"{_second(us // _SECOND_US)}.{us % _SECOND_US:06d}Z"


class LinesReply(Reply[_Request], Generic[_Request]):
    """An answer in lines; a subclass says what stands around a text, and builds the lines with more in them.

    Calls are gathered until the answer ends, for their arguments go out as objects. Of a line with a text only the
    microseconds of its time and the text are made anew: what stands before them is made once a second.
    """

    stream_headers = HEADERS
    before_text: ClassVar[bytes]
    after_text: ClassVar[bytes]

    def __init__(self, rooms: Rooms, request: _Request, visit: Visit, *, answer: Answer) -> None:
        super().__init__(rooms, request, visit, answer=answer)
        self._first_s = visit.started_s if answer.first.is_last else rooms.clock.monotonic_s()
        self._now_us = rooms.clock.now_us
        self._second_us = -_SECOND_US
        self._before_us = b""
        self._calling: list[Chunk] = []

    @abstractmethod
    def line(self, text: str, calls: list[OllamaCall], logprobs: Sequence[Logprob]) -> msgspec.Struct:
        """A line that is not the last, with more in it than text."""

    @abstractmethod
    def end(self, whole: Chunk, calls: list[OllamaCall], facts: dict[str, Any]) -> msgspec.Struct:
        """A whole answer, or the last line of a stream; `facts` are the fields of `OllamaEnd`."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        choice = choices[0]
        return encode(self.end(choice, calls_of(choice.tool_calls, choice.finish_reason), self._facts(choice)))

    def piece(self, chunk: Chunk) -> bytes:
        if chunk.tool_calls:
            self._calling.append(chunk)
        if chunk.logprobs:
            return encode(self.line(chunk.text, [], chunk.logprobs)) + b"\n"
        if not chunk.text:
            return b""
        us = self._now_us() - self._second_us
        if not 0 <= us < _SECOND_US:
            us = self._next_second()
        return b"%b%06d%b%b%b" % (self._before_us, us, self.before_text, encode(chunk.text), self.after_text)

    def closing(self, last: Chunk) -> bytes:
        called = b""
        if self._calling:
            pieces = merged((Chunk(""), *self._calling))[0].tool_calls
            if calls := calls_of(pieces, last.finish_reason):
                called = encode(self.line("", calls, ())) + b"\n"
        end = Chunk("", last.finish_reason, last.tokens)
        return called + encode(self.end(end, [], self._facts(end))) + b"\n"

    def now(self) -> str:
        return moment(self._now_us())

    def _next_second(self) -> int:
        """Begins the lines of another second; gives the microseconds in it that have passed."""
        now_us = self._now_us()
        us = now_us % _SECOND_US
        self._second_us = now_us - us
        second = _second(now_us // _SECOND_US).encode()
        self._before_us = b'{"model":%b,"created_at":"%b.' % (encode(self.answer.model), second)
        return us

    def _facts(self, last: Chunk) -> dict[str, Any]:
        assert last.tokens is not None
        started_s, now_s = self.visit.started_s, self.rooms.clock.monotonic_s()
        end = OllamaEnd(
            model=self.answer.model,
            created_at=self.now(),
            done_reason=_done_reason(last.finish_reason),
            total_duration=_ns(now_s - started_s),
            prompt_eval_count=last.tokens.prompt,
            prompt_eval_duration=_ns(self._first_s - started_s),
            eval_count=last.tokens.completion,
            eval_duration=_ns(now_s - self._first_s),
        )
        return msgspec.structs.asdict(end)


def loaded(model: str, visit: Visit, clock: Clock) -> dict[str, Any]:
    """The fields of `OllamaEnd` where nothing was asked of the model but to be there."""
    end = OllamaEnd(
        model=model,
        created_at=moment(clock.now_us()),
        done_reason="load",
        total_duration=_ns(clock.monotonic_s() - visit.started_s),
        prompt_eval_count=0,
        prompt_eval_duration=0,
        eval_count=0,
        eval_duration=0,
    )
    return msgspec.structs.asdict(end)


def logprobs_of(logprobs: Sequence[Logprob]) -> list[OllamaLogprob] | msgspec.UnsetType:
    """Unset where there are none, for they were not asked for."""
    return [_logprob(logprob) for logprob in logprobs] if logprobs else msgspec.UNSET


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _logprob(told: Logprob) -> OllamaLogprob:
    others = [OllamaTokenLogprob(other.token, other.logprob, _bytes(other)) for other in told.others]
    return OllamaLogprob(told.token, told.logprob, _bytes(told), others or msgspec.UNSET)


def _bytes(told: Logprob) -> tuple[int, ...] | msgspec.UnsetType:
    return msgspec.UNSET if told.bytes is None else told.bytes


def _done_reason(reason: FinishReason | None) -> Literal["stop", "length", "content_filter"]:
    """Ollama has no word of its own for an answer that ends with calls."""
    return reason if reason in {"length", "content_filter"} else "stop"


def _ns(seconds: float) -> int:
    return round(seconds * _SECOND_NS)
