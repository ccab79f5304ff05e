"""POST /api/embed, and its older form POST /api/embeddings: texts as vectors. An input is never cut."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from aiservice.api import prompt
from aiservice.api.answers import numbers
from aiservice.api.door import Operation
from aiservice.api.fields import ModelName
from aiservice.api.hot import HotDoor, Reply
from aiservice.api.ollama.models import found
from aiservice.api.ollama.request import plain_name
from aiservice.api.surfaces import OLLAMA
from aiservice.core.types import Chunk, Embedding
from aiservice.gateway import Visit

PATH = "/api/embed"
OLD_PATH = "/api/embeddings"
INPUTS_MAX = 2_048
_NANO = 1_000_000_000

_encode = msgspec.json.Encoder().encode


class OllamaEmbedRequest(msgspec.Struct):
    """A text or several. `options` and `keep_alive` are the engine's own business."""

    model: ModelName
    input: str | Annotated[list[str], msgspec.Meta(max_length=INPUTS_MAX)] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=0)] | None = None
    truncate: bool | None = None


class OllamaEmbedAnswer(msgspec.Struct):
    """A vector for each input, in their order; durations in nanoseconds."""

    model: str
    embeddings: list[tuple[float, ...]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class OllamaEmbeddingsRequest(msgspec.Struct):
    """A text."""

    model: ModelName
    prompt: str | None = None


class OllamaEmbeddingsAnswer(msgspec.Struct):
    """The text's vector."""

    embedding: Sequence[float]


class EmbedReply(Reply[OllamaEmbedRequest]):
    """The vectors as Ollama's embed says them."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        chunk = choices[0]
        assert chunk.tokens is not None
        elapsed_ns = round((self.rooms.clock.monotonic_s() - self.visit.started_s) * _NANO)
        vectors = [numbers(vector) for vector in chunk.vectors]
        return _encode(OllamaEmbedAnswer(self.answer.model, vectors, elapsed_ns, 0, chunk.tokens.prompt))


class EmbeddingsReply(Reply[OllamaEmbeddingsRequest]):
    """The vector as Ollama's older route says it."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        return _encode(OllamaEmbeddingsAnswer(numbers(choices[0].vectors[0])))


class EmbedDoor(HotDoor[OllamaEmbedRequest]):
    """Ollama's embed."""

    path = PATH
    surface = OLLAMA
    decoder = msgspec.json.Decoder(OllamaEmbedRequest)
    reply = EmbedReply
    operation = Operation(
        tag="ollama",
        summary="Vectors, as Ollama has them",
        description="Answers with a vector for each text. One that is too long for the model is refused, not cut.",
        answer=OllamaEmbedAnswer,
    )

    def ready(self, request: OllamaEmbedRequest, visit: Visit) -> bytes | None:
        if request.input:
            return None
        model = found(self.rooms, visit.caller, request.model)
        return _encode(OllamaEmbedAnswer(model.name, []))

    def asked(self, request: OllamaEmbedRequest, visit: Visit) -> Embedding:
        texts = (request.input,) if isinstance(request.input, str) else tuple(request.input or ())
        checked = prompt.checked_texts(texts, "input", self.rooms.settings.server.prompt_characters_max)
        return Embedding(plain_name(request.model), checked, request.dimensions or None)


class EmbeddingsDoor(HotDoor[OllamaEmbeddingsRequest]):
    """Ollama's older route for one vector."""

    path = OLD_PATH
    surface = OLLAMA
    decoder = msgspec.json.Decoder(OllamaEmbeddingsRequest)
    reply = EmbeddingsReply
    operation = Operation(
        tag="ollama",
        summary="One vector, as Ollama had it",
        description="Answers with the vector of a text. It is the older form of /api/embed.",
        answer=OllamaEmbeddingsAnswer,
    )

    def ready(self, request: OllamaEmbeddingsRequest, visit: Visit) -> bytes | None:
        if request.prompt:
            return None
        found(self.rooms, visit.caller, request.model)
        return _encode(OllamaEmbeddingsAnswer([]))

    def asked(self, request: OllamaEmbeddingsRequest, visit: Visit) -> Embedding:
        characters_max = self.rooms.settings.server.prompt_characters_max
        texts = prompt.checked_texts((request.prompt or "",), "prompt", characters_max)
        return Embedding(plain_name(request.model), texts)
