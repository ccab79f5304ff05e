"""POST /api/chat: a conversation, answered in lines or whole."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor
from aiservice.api.ollama.content import OllamaCall, OllamaMessage, OllamaTool, messages_of, tools_of
from aiservice.api.ollama.lines import NDJSON, LinesReply, OllamaEnd, OllamaLogprob, encode, loaded, logprobs_of
from aiservice.api.ollama.models import loadable
from aiservice.api.ollama.request import OllamaRequest, generation_of
from aiservice.api.surfaces import OLLAMA
from aiservice.core.types import Chunk, Generation, Logprob
from aiservice.gateway import Visit

PATH = "/api/chat"


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """A conversation; without messages it asks only whether the model is there. `stream` is true unless said."""

    messages: list[OllamaMessage] | None = None
    tools: list[OllamaTool] | None = None


class OllamaSaid(msgspec.Struct):
    """What the model said, or a piece of it."""

    role: Literal["assistant"]
    content: str
    tool_calls: list[OllamaCall] | msgspec.UnsetType = msgspec.UNSET


class OllamaChatAnswer(OllamaEnd, kw_only=True):
    """A whole answer, or the last line of a stream, whose content is empty then."""

    message: OllamaSaid
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


class OllamaChatLine(msgspec.Struct):
    """A line of a stream that is not the last."""

    model: str
    created_at: str
    message: OllamaSaid
    done: Literal[False] = False
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


class ChatReply(LinesReply[OllamaChatRequest]):
    """The answer as Ollama's chat says it."""

    before_text = b'Z","message":{"role":"assistant","content":'
    after_text = b'},"done":false}\n'

    def line(self, text: str, calls: list[OllamaCall], logprobs: Sequence[Logprob]) -> OllamaChatLine:
        return OllamaChatLine(self.answer.model, self.now(), _said(text, calls), logprobs=logprobs_of(logprobs))

    def end(self, whole: Chunk, calls: list[OllamaCall], facts: dict[str, Any]) -> OllamaChatAnswer:
        return OllamaChatAnswer(message=_said(whole.text, calls), logprobs=logprobs_of(whole.logprobs), **facts)


class ChatDoor(HotDoor[OllamaChatRequest]):
    """Ollama's chat."""

    path = PATH
    surface = OLLAMA
    takes_images = True
    decoder = msgspec.json.Decoder(OllamaChatRequest)
    reply = ChatReply
    operation = Operation(
        tag="ollama",
        summary="Chat, as Ollama has it",
        description="Answers a conversation, as a stream of JSON lines unless `stream` is false.",
        answer=OllamaChatAnswer,
        events=(OllamaChatLine, OllamaChatAnswer),
        stream_type=NDJSON,
    )

    def ready(self, request: OllamaChatRequest, visit: Visit) -> bytes | None:
        if request.messages:
            return None
        model = loadable(self.rooms, visit.caller, request)
        facts = loaded(model.name, visit, self.rooms.clock)
        return encode(OllamaChatAnswer(message=OllamaSaid("assistant", ""), **facts))

    def asked(self, request: OllamaChatRequest, visit: Visit) -> Generation:
        messages = messages_of(request.messages or (), self.rooms.settings)
        tools = tools_of(request.tools)
        return generation_of(request, messages, self.rooms, caller=visit.caller, param="messages", tools=tools)


def _said(text: str, calls: list[OllamaCall]) -> OllamaSaid:
    return OllamaSaid("assistant", text, tool_calls=calls or msgspec.UNSET)
