"""The events of a streamed response, numbered from 0: an answer's chunks as OpenAI's clients read them."""

import msgspec

from aiservice.api import sse
from aiservice.api.openai.response_event_types import (
    ResponseArgumentsDoneEvent,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseErrorEvent,
    ResponseEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseItemAddedEvent,
    ResponseItemDoneEvent,
    ResponsePartAddedEvent,
    ResponsePartDoneEvent,
    ResponseQueuedEvent,
    ResponseTextDoneEvent,
)
from aiservice.api.openai.response_object import (
    ItemStatus,
    ResponseError,
    ResponseFunctionCall,
    ResponseLogprob,
    ResponseObject,
    ResponseOutput,
    ResponseOutputMessage,
    ResponseOutputText,
    finished,
    function_call,
    item_status,
    logprobs_of,
)
from aiservice.api.surfaces import ErrorFacts
from aiservice.core.types import Chunk, ToolCall

NEVER_SENT = -1
_encode = msgspec.json.Encoder().encode


class ResponseEvents:
    """Makes the events of one response, in order; those up to the number `after` are left out.

    `head` is the response as it stands at its beginning. Texts and calls become items in the order of their first
    pieces; a text that goes on after a call is a message of its own.
    """

    def __init__(self, head: ResponseObject, *, after: int = NEVER_SENT) -> None:
        self._head = head
        self._after = after
        self._number = 0
        self._items: list[_OpenText | _OpenCall] = []
        self._text: _OpenText | None = None
        self._calls: dict[int, _OpenCall] = {}

    def opening(self) -> bytes:
        """What comes before the first chunk."""
        head = self._head
        begun = msgspec.structs.replace(head, status="in_progress")
        data = self._event(ResponseCreatedEvent(head, self._take()))
        if head.status == "queued":
            data += self._event(ResponseQueuedEvent(head, self._take()))
        return data + self._event(ResponseInProgressEvent(begun, self._take()))

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk, also a whole answer in one."""
        data = b""
        if chunk.text:
            text = self._text
            if text is None:
                text, data = self._open_text()
            text.pieces.append(chunk.text)
            logprobs = b"[]"
            if chunk.logprobs:
                told = logprobs_of(chunk.logprobs)
                text.logprobs += told
                logprobs = _encode(told)
            data += self._delta(b'%b"logprobs":%b,"delta":' % (text.lead, logprobs), chunk.text)
        for call in chunk.tool_calls:
            data += self._call(call)
        return data

    def closing(self, last: Chunk, *, completed_at: int) -> tuple[bytes, ResponseObject]:
        """What comes after the last chunk, which had the finish reason and the tokens, and the response at its end."""
        assert last.finish_reason is not None
        status = item_status(last.finish_reason)
        data = self._open_text()[1] if not self._items else b""
        for item in self._items:
            data += self._close(item, status)
        response = finished(self._head, self._output(status), last, completed_at=completed_at)
        kind = ResponseCompletedEvent if response.status == "completed" else ResponseIncompleteEvent
        return data + self._event(kind(response, self._take())), response

    def failing(self, error: ResponseError, facts: ErrorFacts) -> tuple[bytes, ResponseObject]:
        """What ends a stream that broke off, and the failed response with what there was of its answer."""
        output = self._output("incomplete")
        response = msgspec.structs.replace(self._head, status="failed", error=error, output=output)
        event = ResponseErrorEvent(facts.code, facts.message, facts.param, facts, self._take())
        return self._event(event) + self._event(ResponseFailedEvent(response, self._take())), response

    def _take(self) -> int:
        number = self._number
        self._number = number + 1
        return number

    def _event(self, event: ResponseEvent) -> bytes:
        if event.sequence_number <= self._after:
            return b""
        return sse.event(event, str(type(event).__struct_config__.tag))

    def _delta(self, lead: bytes, text: str) -> bytes:
        number = self._number
        self._number = number + 1
        if number <= self._after:
            return b""
        return b'%b%b,"sequence_number":%d}\n\n' % (lead, _encode(text), number)

    def _open_text(self) -> tuple["_OpenText", bytes]:
        row = len(self._items)
        text = _OpenText(f"msg_{self._head.mark}_{row}", row)
        self._text = text
        self._items.append(text)
        message = ResponseOutputMessage(text.id, "in_progress", [])
        data = self._event(ResponseItemAddedEvent(row, message, self._take()))
        data += self._event(ResponsePartAddedEvent(text.id, row, 0, ResponseOutputText(""), self._take()))
        return text, data

    def _call(self, piece: ToolCall) -> bytes:
        data = b""
        call = self._calls.get(piece.index)
        if call is None:
            if self._text is not None:
                data = self._close(self._text, "completed")
            row = len(self._items)
            item = function_call(piece, self._head.mark, row, status="in_progress")
            call = self._calls[piece.index] = _OpenCall(item, row)
            self._items.append(call)
            empty = msgspec.structs.replace(item, arguments="")
            data += self._event(ResponseItemAddedEvent(row, empty, self._take()))
        call.pieces.append(piece.arguments)
        return data + self._delta(call.lead, piece.arguments) if piece.arguments else data

    def _close(self, item: "_OpenText | _OpenCall", status: ItemStatus) -> bytes:
        """The events of an item's end; nothing for a text that a call has ended before."""
        if item.status is not None:
            return b""
        item.status = status
        if isinstance(item, _OpenText):
            return self._close_text(item, item.whole(status))
        call = item.whole(status)
        done = ResponseArgumentsDoneEvent(call.id, item.row, call.name, call.arguments, self._take())
        return self._event(done) + self._event(ResponseItemDoneEvent(item.row, call, self._take()))

    def _close_text(self, text: "_OpenText", message: ResponseOutputMessage) -> bytes:
        self._text = None
        part = message.content[0]
        done = ResponseTextDoneEvent(text.id, text.row, 0, part.logprobs, part.text, self._take())
        data = self._event(done) + self._event(ResponsePartDoneEvent(text.id, text.row, 0, part, self._take()))
        return data + self._event(ResponseItemDoneEvent(text.row, message, self._take()))

    def _output(self, status: ItemStatus) -> list[ResponseOutput]:
        return [item.whole(item.status or status) for item in self._items]


class _OpenText:
    """A message in the making, without a status until its end; each of its deltas begins with `lead`."""

    __slots__ = ("id", "lead", "logprobs", "pieces", "row", "status")

    def __init__(self, id: str, row: int) -> None:
        self.id = id
        self.row = row
        self.status: ItemStatus | None = None
        self.pieces: list[str] = []
        self.logprobs: list[ResponseLogprob] = []
        self.lead = _lead("response.output_text.delta", id, row) + b'"content_index":0,'

    def whole(self, status: ItemStatus) -> ResponseOutputMessage:
        return ResponseOutputMessage(self.id, status, [ResponseOutputText("".join(self.pieces), [], self.logprobs)])


class _OpenCall:
    """A call in the making, as `_OpenText` is a message."""

    __slots__ = ("_item", "lead", "pieces", "row", "status")

    def __init__(self, item: ResponseFunctionCall, row: int) -> None:
        self.row = row
        self.status: ItemStatus | None = None
        self.pieces: list[str] = []
        self.lead = _lead("response.function_call_arguments.delta", item.id, row) + b'"delta":'
        self._item = item

    def whole(self, status: ItemStatus) -> ResponseFunctionCall:
        return msgspec.structs.replace(self._item, status=status, arguments="".join(self.pieces))


def _lead(kind: str, id: str, row: int) -> bytes:
    """The beginning of each delta of an item, up to what differs."""
    lead = f'event: {kind}\ndata: {{"type":"{kind}","item_id":"{id}","output_index":{row},'
    return lead.encode()
