"""POST /api/generate: one prompt, answered in lines or whole. It is a chat of a system and a user message."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor
from aiservice.api.ollama.content import OllamaCall, images_of
from aiservice.api.ollama.lines import NDJSON, LinesReply, OllamaEnd, OllamaLogprob, encode, loaded, logprobs_of
from aiservice.api.ollama.models import loadable
from aiservice.api.ollama.request import OllamaRequest, generation_of
from aiservice.api.prompt import IMAGES_MAX
from aiservice.api.surfaces import OLLAMA
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Chunk, Generation, Logprob, Message
from aiservice.gateway import Visit

PATH = "/api/generate"


class OllamaGenerateRequest(OllamaRequest, kw_only=True):
    """A prompt; without one it asks only whether the model is there. `stream` is true unless said.

    `suffix`, `template`, `context` and `raw` are refused: models are asked in their own form, and nothing is kept.
    """

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None


class OllamaGenerateAnswer(OllamaEnd, kw_only=True):
    """A whole answer, or the last line of a stream, whose response is empty then."""

    response: str
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


class OllamaGenerateLine(msgspec.Struct):
    """A line of a stream that is not the last."""

    model: str
    created_at: str
    response: str
    done: Literal[False] = False
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


class GenerateReply(LinesReply[OllamaGenerateRequest]):
    """The answer as Ollama's generate says it; without tools no model calls any."""

    before_text = b'Z","response":'
    after_text = b',"done":false}\n'

    def line(self, text: str, calls: list[OllamaCall], logprobs: Sequence[Logprob]) -> OllamaGenerateLine:
        return OllamaGenerateLine(self.answer.model, self.now(), text, logprobs=logprobs_of(logprobs))

    def end(self, whole: Chunk, calls: list[OllamaCall], facts: dict[str, Any]) -> OllamaGenerateAnswer:
        return OllamaGenerateAnswer(response=whole.text, logprobs=logprobs_of(whole.logprobs), **facts)


class GenerateDoor(HotDoor[OllamaGenerateRequest]):
    """Ollama's generate."""

    path = PATH
    surface = OLLAMA
    takes_images = True
    decoder = msgspec.json.Decoder(OllamaGenerateRequest)
    reply = GenerateReply
    operation = Operation(
        tag="ollama",
        summary="Generate, as Ollama has it",
        description="Answers a prompt, as a stream of JSON lines unless `stream` is false.",
        answer=OllamaGenerateAnswer,
        events=(OllamaGenerateLine, OllamaGenerateAnswer),
        stream_type=NDJSON,
    )

    def ready(self, request: OllamaGenerateRequest, visit: Visit) -> bytes | None:
        if request.prompt:
            return None
        model = loadable(self.rooms, visit.caller, request)
        facts = loaded(model.name, visit, self.rooms.clock)
        return encode(OllamaGenerateAnswer(response="", **facts))

    def asked(self, request: OllamaGenerateRequest, visit: Visit) -> Generation:
        _refuse_unsupported(request)
        pictures = images_of(request.images, "images", self.rooms.settings)
        messages = [Message("user", request.prompt or "", pictures)]
        if request.system:
            messages.insert(0, Message("system", request.system))
        return generation_of(request, messages, self.rooms, caller=visit.caller, param="prompt")


def _refuse_unsupported(request: OllamaGenerateRequest) -> None:
    if request.raw:
        raise FieldInvalid("raw: prompts go through the model's own template here; leave raw out.", param="raw")
    if request.template:
        raise FieldInvalid("template: models are asked by their own template; leave template out.", param="template")
    if request.suffix:
        raise FieldInvalid("suffix: texts are not filled in here; leave suffix out.", param="suffix")
    if request.context:
        raise FieldInvalid(
            "context: no conversation is kept between requests; send the messages to /api/chat.", param="context"
        )
    if len(request.images or ()) > IMAGES_MAX:
        raise FieldInvalid(f"images has more than {IMAGES_MAX} pictures.", param="images")
