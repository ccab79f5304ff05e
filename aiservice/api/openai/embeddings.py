"""POST /v1/embeddings: texts as vectors."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.answers import numbers
from aiservice.api.door import Operation
from aiservice.api.fields import Count, ModelName
from aiservice.api.hot import HotDoor, Reply
from aiservice.api.surfaces import OPENAI
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Chunk, Embedding
from aiservice.gateway import Visit

PATH = "/v1/embeddings"
INPUTS_MAX = 2_048

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_encode = msgspec.json.Encoder().encode


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """A text, or up to 2,048 of them; token ids are refused."""

    model: ModelName
    input: _Text | Annotated[list[_Text | int | list[int]], msgspec.Meta(min_length=1, max_length=INPUTS_MAX)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


class EmbeddingRow(msgspec.Struct):
    """The vector of one text; in base64 its numbers are float32, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: Sequence[float] | bytes


class EmbeddingUsage(msgspec.Struct):
    """Token counts as the engine gave them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(msgspec.Struct):
    """The vectors in the order of the texts; `model` is the model that made them."""

    object: Literal["list"]
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingUsage


class EmbeddingReply(Reply[EmbeddingRequest]):
    """The vectors as numbers, or as they came."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        chunk = choices[0]
        assert chunk.tokens is not None
        is_base64 = self.request.encoding_format == "base64"
        rows = [
            EmbeddingRow("embedding", index, vector if is_base64 else numbers(vector))
            for index, vector in enumerate(chunk.vectors)
        ]
        usage = EmbeddingUsage(chunk.tokens.prompt, chunk.tokens.total)
        return _encode(EmbeddingAnswer("list", rows, self.answer.model, usage))


class EmbeddingDoor(HotDoor[EmbeddingRequest]):
    """OpenAI's embeddings: its request to an `Embedding`."""

    path = PATH
    surface = OPENAI
    decoder = msgspec.json.Decoder(EmbeddingRequest)
    reply = EmbeddingReply
    operation = Operation(
        tag="openai",
        summary="Create embeddings",
        description="OpenAI's Embeddings API.",
        answer=EmbeddingAnswer,
    )

    def asked(self, request: EmbeddingRequest, visit: Visit) -> Embedding:
        characters_max = self.rooms.settings.server.prompt_characters_max
        texts = prompt.checked_texts(_texts(request.input), "input", characters_max)
        return Embedding(request.model, texts, request.dimensions)


def _texts(asked: str | Sequence[str | int | list[int]]) -> tuple[str, ...]:
    if isinstance(asked, str):
        return (asked,)
    texts = tuple(text for text in asked if isinstance(text, str))
    if len(texts) != len(asked):
        raise FieldInvalid(
            "input is of token ids, which every model has its own of; send texts "
            "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)).",
            param="input",
        )
    return texts
