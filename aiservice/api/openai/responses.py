"""POST /v1/responses: OpenAI's newer door, whose answers can be stored, gone on from and made in the background."""

from collections.abc import Sequence

import msgspec

from aiservice.api.asgi import JSON_TYPE, Scope, Send, send_bytes
from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor, Reply
from aiservice.api.openai.response_event_types import EVENTS
from aiservice.api.openai.response_events import ResponseEvents
from aiservice.api.openai.response_items import ResponseItem, conversation
from aiservice.api.openai.response_object import ResponseObject, finished, output_of
from aiservice.api.openai.response_request import ResponsesRequest, generation_of, head_of, refuse_unsupported
from aiservice.api.openai.response_store import (
    Background,
    error_facts,
    error_of,
    followed,
    kept_conversation,
    name_of,
    packed_chunks,
    said_before,
)
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import OPENAI
from aiservice.cache import CachePolicy
from aiservice.core.errors import PreviousResponseUnknown, ResponseUnknown
from aiservice.core.types import Asked, Chunk, Generation
from aiservice.gateway import Answer, Visit
from aiservice.gateway.responses import Ending

PATH = "/v1/responses"
_encode = msgspec.json.Encoder().encode


class ResponsesReply(Reply[ResponsesRequest]):
    """The answer as one response, or as events that build it up; stored first where that was asked."""

    def __init__(self, rooms: Rooms, request: ResponsesRequest, visit: Visit, *, answer: Answer) -> None:
        super().__init__(rooms, request, visit, answer=answer)
        self._head = head_of(request, rooms.settings, visit, model=answer.model, status="in_progress")
        self._events = ResponseEvents(self._head)
        self._chunks: list[Chunk] = []
        self._response: ResponseObject | None = None

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        choice = choices[0]
        self._chunks = [choice]
        output = output_of(choice, self._head.mark)
        self._response = finished(self._head, output, choice, completed_at=self._now_s())
        return _encode(self._response)

    def opening(self) -> bytes:
        return self._events.opening()

    def piece(self, chunk: Chunk) -> bytes:
        if self.request.store:
            self._chunks.append(chunk)
        return self._events.piece(chunk)

    def closing(self, last: Chunk) -> bytes:
        data, self._response = self._events.closing(last, completed_at=self._now_s())
        return data

    def failure(self, failed: bytes) -> bytes:
        facts = error_facts(failed.removeprefix(b"data: "))
        return self._events.failing(error_of(facts), facts)[0]

    async def settled(self) -> None:
        if not self.request.store:
            return
        response = self._response
        assert response is not None
        assert response.status != "queued"
        ending = Ending(response.status, _encode(response), packed_chunks(self._chunks))
        kept = kept_conversation(self.request)
        await self.rooms.responses.keep((self.visit.caller.tenant_id, self.visit.id), ending, conversation=kept)

    def _now_s(self) -> int:
        return self.rooms.clock.now_us() // 1_000_000


class ResponsesDoor(HotDoor[ResponsesRequest]):
    """Items to a `Generation`, the answer to items; where it goes on from a stored response, that is read before."""

    path = PATH
    surface = OPENAI
    takes_images = True
    decoder = msgspec.json.Decoder(ResponsesRequest)
    reply = ResponsesReply
    operation = Operation(
        tag="openai",
        summary="Create a response",
        description=(
            "Asks a model, in the form of OpenAI's Responses API. A response is stored only with `store: true`. With "
            "`stream` the answer is a stream of events, with `background` it is made after the client has its id."
        ),
        answer=ResponseObject,
        events=EVENTS,
    )

    async def translated(self, request: ResponsesRequest, visit: Visit) -> Asked:
        """The request's input becomes the whole conversation."""
        refuse_unsupported(request)
        before = await self._said_before(request, visit)
        mark = visit.id.replace("-", "")
        request.input = conversation(request.input, before, mark=mark, settings=self.rooms.settings)
        return self.asked(request, visit)

    def asked(self, request: ResponsesRequest, visit: Visit) -> Generation:
        return generation_of(request, self.rooms.settings, visit.caller)

    async def answer(
        self, scope: Scope, send: Send, visit: Visit, *, request: ResponsesRequest, asked: Asked, policy: CachePolicy
    ) -> None:
        if not request.background:
            await super().answer(scope, send, visit, request=request, asked=asked, policy=policy)
            return
        work = Background(self.rooms, visit, request=request, asked=asked, policy=policy)
        name = (visit.caller.tenant_id, visit.id)
        kept = kept_conversation(request)
        job = await self.rooms.responses.begin(name, work, queued=work.queued, conversation=kept)
        headers = await self.standing_headers(scope, visit.caller)
        if not asked.stream:
            await send_bytes(send, 200, work.queued.body, headers=[JSON_TYPE, *headers])
            return
        headers = [*self.reply.stream_headers, *headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for data in followed(self.rooms.responses, name, work.queued.body, job=job):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _said_before(self, request: ResponsesRequest, visit: Visit) -> list[ResponseItem]:
        previous_id = request.previous_response_id
        if previous_id is None:
            return []
        try:
            stored = await self.rooms.responses.find(name_of(visit.caller, previous_id))
        except ResponseUnknown:
            raise PreviousResponseUnknown(param="previous_response_id") from None
        return said_before(stored, self.rooms.settings.server.image_body_bytes_max)
