"""POST /api/embed, and its older form POST /api/embeddings: texts as vectors. An input is never cut."""

import sys
from array import array
from collections.abc import Sequence
from typing import Annotated

import msgspec

from aiservice.api.fields import ModelName
from aiservice.api.hot import HotDoor, Operation, Reply
from aiservice.api.ollama.models import found
from aiservice.api.ollama.request import plain_name
from aiservice.api.parse import refuse_nul
from aiservice.api.surfaces import OLLAMA
from aiservice.core.errors import FieldInvalid
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
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class OllamaEmbeddingsRequest(msgspec.Struct):
    """A text."""

    model: ModelName
    prompt: str | None = None


class OllamaEmbeddingsAnswer(msgspec.Struct):
    """The text's vector."""

    embedding: list[float]


class EmbedReply(Reply[OllamaEmbedRequest]):
    """The vectors as Ollama's embed says them."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        chunk = choices[0]
        assert chunk.tokens is not None
        elapsed_ns = round((self.rooms.clock.monotonic_s() - self.visit.started_s) * _NANO)
        vectors = [_numbers(vector) for vector in chunk.vectors]
        return _encode(OllamaEmbedAnswer(self.answer.model, vectors, elapsed_ns, 0, chunk.tokens.prompt))


class EmbeddingsReply(Reply[OllamaEmbeddingsRequest]):
    """The vector as Ollama's older route says it."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        return _encode(OllamaEmbeddingsAnswer(_numbers(choices[0].vectors[0])))


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
        _refuse_bad(texts, "input", self.rooms.settings.server.prompt_characters_max)
        return Embedding(plain_name(request.model), texts, request.dimensions or None)


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
        texts = (request.prompt or "",)
        _refuse_bad(texts, "prompt", self.rooms.settings.server.prompt_characters_max)
        return Embedding(plain_name(request.model), texts)


def _refuse_bad(texts: Sequence[str], param: str, characters_max: int) -> None:
    for text in texts:
        if not text:
            raise FieldInvalid(f"{param} has an empty text in it, which has no vector.", param=param)
        refuse_nul(text, param)
        if len(text) > characters_max:
            raise FieldInvalid(
                f"{param} has a text of {len(text)} characters; at most {characters_max} are taken.", param=param
            )


def _numbers(vector: bytes) -> list[float]:
    """A vector of float32, little-endian, as numbers."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
