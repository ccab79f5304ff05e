"""Between responses and where they are stored: what is kept of one, and how it is shown, followed and gone on from."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import UUID

import msgspec

from aiservice.api.openai.response_events import NEVER_SENT, ResponseEvents
from aiservice.api.openai.response_items import ResponseItem
from aiservice.api.openai.response_object import ErrorCode, ResponseError, ResponseObject
from aiservice.api.openai.response_request import ResponsesRequest, head_of
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import OPENAI, ErrorBody, ErrorFacts
from aiservice.cache import CachePolicy
from aiservice.core.errors import AIServiceError, InvalidRequest, ResponseUnknown
from aiservice.core.types import Asked, Chunk, Generation
from aiservice.gateway import Visit
from aiservice.gateway.responses import Ending, Job, Name, Responses, StoredResponse
from aiservice.keys import Caller

_ID = re.compile(r"resp_([0-9a-f]{32})")
_LOST = ResponseError("server_error", "The service stopped while it made this response; create it again.")
_LIMIT_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota"})

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_chunks_decoder = msgspec.msgpack.Decoder(list[Chunk])
_items_decoder = msgspec.json.Decoder(list[ResponseItem])
_response_decoder = msgspec.json.Decoder(ResponseObject)
_error_decoder = msgspec.json.Decoder(ErrorBody)


class _Said(msgspec.Struct):
    """Of a response's body what a later one goes on from."""

    output: list[ResponseItem]


_said_decoder = msgspec.json.Decoder(_Said)


def name_of(caller: Caller, response_id: str) -> Name:
    """What a response is found by; raises `ResponseUnknown` for an id that is none of ours."""
    match = _ID.fullmatch(response_id)
    if match is None:
        raise ResponseUnknown(param="response_id")
    return caller.tenant_id, str(UUID(match[1]))


def shown(stored: StoredResponse) -> ResponseObject:
    """The response as it is now, also when its maker could not say so."""
    response = _response_decoder.decode(stored.body)
    if response.status == stored.status:
        return response
    return msgspec.structs.replace(
        response, status=stored.status, error=_LOST if stored.status == "failed" else response.error
    )


def packed_chunks(chunks: Sequence[Chunk]) -> bytes:
    """What a stream was made of, as it is kept."""
    return _pack(chunks)


def kept_conversation(request: ResponsesRequest) -> bytes:
    """The items of the request's whole conversation, as they are kept."""
    return _encode(request.input)


def conversation_of(stored: StoredResponse) -> list[ResponseItem]:
    """All that was said before the response's answer."""
    return _items_decoder.decode(stored.conversation)


def said_before(stored: StoredResponse, bytes_max: int) -> list[ResponseItem]:
    """The conversation with the response's answer; raises `InvalidRequest` where it has none, or is too large."""
    if stored.status not in {"completed", "incomplete"}:
        raise InvalidRequest(
            f"The previous response is {stored.status}; only one that has ended with an answer can be gone on from.",
            param="previous_response_id",
        )
    if len(stored.conversation) + len(stored.body) > bytes_max:
        raise InvalidRequest(
            f"The conversation is larger than {bytes_max} bytes; begin a new one.", param="previous_response_id"
        )
    return conversation_of(stored) + _said_decoder.decode(stored.body).output


def error_facts(body: bytes) -> ErrorFacts:
    """What an error's body says."""
    return _error_decoder.decode(body).error


def error_of(facts: ErrorFacts) -> ResponseError:
    """An error in the few words that a response has for it."""
    code: ErrorCode = "invalid_prompt" if facts.type == "invalid_request_error" else "server_error"
    return ResponseError("rate_limit_exceeded" if facts.code in _LIMIT_CODES else code, facts.message)


class Background:
    """The work of a background response: it walks the corridor as any request, with its caller's visit."""

    def __init__(
        self, rooms: Rooms, visit: Visit, *, request: ResponsesRequest, asked: Asked, policy: CachePolicy
    ) -> None:
        self._rooms = rooms
        self._visit = visit
        # Asked for as a stream, so that one that is called off has its tokens so far in the ledger.
        self._asked = msgspec.structs.replace(asked, stream=True) if isinstance(asked, Generation) else asked
        self._policy = policy
        self._head = head_of(request, rooms.settings, visit, model=asked.model, status="queued")
        self._events = ResponseEvents(self._head)
        self._chunks: list[Chunk] = []

    @property
    def queued(self) -> Ending:
        """What is shown of the response before its end."""
        return Ending("in_progress", _encode(self._head), packed_chunks(()))

    async def make(self, job: Job) -> Ending:
        """The whole answer; raises what the corridor raises."""
        answer = await self._rooms.corridor.answer(self._visit, self._asked, self._policy)
        self._head.model = answer.model
        async with aclosing(answer.rest):
            self._take(job, answer.first)
            async for chunk in answer.rest:
                self._take(job, chunk)
        completed_at = self._rooms.clock.now_us() // 1_000_000
        _, response = self._events.closing(self._chunks[-1], completed_at=completed_at)
        return self._ending(response)

    def failed(self, error: AIServiceError) -> Ending:
        """The failed response with what there was of its answer."""
        facts = error_facts(OPENAI.body(error, self._visit.id))
        return self._ending(self._events.failing(error_of(facts), facts)[1])

    def _take(self, job: Job, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._events.piece(chunk)
        job.publish(chunk)

    def _ending(self, response: ResponseObject) -> Ending:
        assert response.status != "queued"
        return Ending(response.status, _encode(response), packed_chunks(self._chunks))


async def followed(
    responses: Responses, name: Name, body: bytes, *, job: Job | None = None, after: int = NEVER_SENT
) -> AsyncGenerator[bytes]:
    """The events of a stored response from the number after `after`, waiting for those that are still to come.

    Of a response that this worker makes they come as they are made, of another's once it has ended. The stream of one
    that was cancelled or deleted just ends.
    """
    events = ResponseEvents(_beginning(_response_decoder.decode(body)), after=after)
    yield events.opening()
    position = 0
    while job is not None and (chunk := await job.chunk(position)) is not None:
        position += 1
        yield events.piece(chunk)
    try:
        stored = await responses.ended(name)
    except ResponseUnknown:
        return
    chunks = _chunks_decoder.decode(stored.chunks)
    for chunk in chunks[position:]:
        yield events.piece(chunk)
    response = shown(stored)
    if response.status == "failed":
        error = response.error or _LOST
        facts = ErrorFacts(error.message, "server_error", None, error.code)
        yield events.failing(error, facts)[0]
    elif response.status != "cancelled":
        yield events.closing(chunks[-1], completed_at=response.completed_at or 0)[0]


def _beginning(response: ResponseObject) -> ResponseObject:
    """A response as it stood before its answer."""
    return msgspec.structs.replace(
        response,
        status="queued" if response.background else "in_progress",
        completed_at=None,
        error=None,
        incomplete_details=None,
        output=[],
        usage=None,
    )
