"""POST /v1/messages: Anthropic's door."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from aiservice.api import prompt, sse
from aiservice.api.anthropic import answer as answers
from aiservice.api.anthropic.answer import MessageBlockStart, MessageBlockStop, MessageText, MessageToolUse
from aiservice.api.anthropic.content import conversation
from aiservice.api.anthropic.request import CountTokensRequest, refuse_unsupported, response_format
from aiservice.api.anthropic.tools import chosen, offered
from aiservice.api.door import Operation
from aiservice.api.fields import Count, Stop, TopK, Unit
from aiservice.api.hot import HotDoor, Reply
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import ANTHROPIC
from aiservice.core.errors import EngineError
from aiservice.core.types import Chunk, Generation, ToolCall
from aiservice.gateway import Answer, Visit

PATH = "/v1/messages"

_encode = msgspec.json.Encoder().encode
_PING = sse.event(answers.MessagePing(), "ping")
_STOP = sse.event(answers.MessageStop(), "message_stop")
# A delta but for what is in it; the index of its block goes between.
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
_TEXT, _INPUT = b'{"type":"text_delta","text":', b'{"type":"input_json_delta","partial_json":'
_DELTA_END = b"}}\n\n"


class MessagesRequest(CountTokensRequest, kw_only=True):
    """What to ask of which model."""

    max_tokens: Count
    temperature: Unit | None = None
    top_p: Unit | None = None
    top_k: TopK | None = None
    stop_sequences: Annotated[list[Stop], msgspec.Meta(max_length=16)] | None = None
    stream: bool = False


class MessagesReply(Reply[MessagesRequest]):
    """The answer as one message, or as events: a block for the text and one for each tool call, one after another."""

    def __init__(self, rooms: Rooms, request: MessagesRequest, visit: Visit, *, answer: Answer) -> None:
        super().__init__(rooms, request, visit, answer=answer)
        self._id = f"msg_{visit.id.replace('-', '')}"
        self._blocks = 0
        # What every delta of the open block begins with; None where no block is open.
        self._delta: bytes | None = None
        # The open block's call; None where it is of text.
        self._call: int | None = None
        self._calls = 0

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        return _encode(answers.whole_message(choices, id=self._id, model=self.answer.model))

    def opening(self) -> bytes:
        start = answers.message_begin(self.answer.first.tokens, id=self._id, model=self.answer.model)
        return sse.event(start, "message_start") + _PING

    def piece(self, chunk: Chunk) -> bytes:
        data = self._text_piece(chunk.text) if chunk.text else b""
        if chunk.tool_calls:
            data += b"".join([self._call_piece(call) for call in chunk.tool_calls])
        return data

    def closing(self, last: Chunk) -> bytes:
        return self._close() + sse.event(answers.message_end(last), "message_delta") + _STOP

    def _text_piece(self, text: str) -> bytes:
        if self._delta is not None and self._call is None:
            return self._delta + _encode(text) + _DELTA_END
        opened = self._open(MessageText(""), _TEXT)
        assert self._delta is not None
        return opened + self._delta + _encode(text) + _DELTA_END

    def _call_piece(self, call: ToolCall) -> bytes:
        data = b""
        if self._delta is None or self._call != call.index:
            if call.index < self._calls:
                raise EngineError("The engine went back to a tool call that it had ended; try again.")
            data = self._open(MessageToolUse(call.id, call.name, {}), _INPUT)
            self._call, self._calls = call.index, call.index + 1
        if call.arguments:
            assert self._delta is not None
            data += self._delta + _encode(call.arguments) + _DELTA_END
        return data

    def _open(self, block: MessageText | MessageToolUse, delta: bytes) -> bytes:
        """Ends the open block and begins the next."""
        closed = self._close()
        self._delta = _DELTA % (self._blocks, delta)
        return closed + sse.event(MessageBlockStart(self._blocks, block), "content_block_start")

    def _close(self) -> bytes:
        if self._delta is None:
            return b""
        data = sse.event(MessageBlockStop(self._blocks), "content_block_stop")
        self._blocks += 1
        self._delta = self._call = None
        return data


class MessagesDoor(HotDoor[MessagesRequest]):
    """Anthropic's Messages API: its request to a `Generation`, its answer as a message or as events."""

    path = PATH
    surface = ANTHROPIC
    takes_images = True
    decoder = msgspec.json.Decoder(MessagesRequest)
    reply = MessagesReply
    operation = Operation(
        tag="anthropic",
        summary="Create a message",
        description="Anthropic's Messages API. With `stream` the answer is a stream of named events that ends with "
        "`message_stop`.",
        answer=answers.MessageAnswer,
        events=answers.EVENTS,
    )

    def asked(self, request: MessagesRequest, visit: Visit) -> Generation:
        settings = self.rooms.settings
        refuse_unsupported(request)
        tools = offered(request.tools)
        temperature = request.temperature
        return Generation(
            model=request.model,
            messages=conversation(request.system, request.messages, settings),
            temperature=settings.engines.temperature if temperature is None else temperature,
            max_tokens=prompt.max_tokens(request.max_tokens, settings, visit.caller),
            top_p=request.top_p,
            stop=prompt.stops(request.stop_sequences),
            response_format=response_format(request),
            stream=request.stream,
            tools=tools,
            tool_choice=chosen(request.tool_choice, tools),
            top_k=request.top_k,
        )
