"""Vectors from the embedded engine: its second server, and the embedding model that this one serves.

The server works through the whole list of a call, though its client has left and others wait, so that a long list
becomes several calls.
"""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec

from aiservice.core.errors import EngineError, EngineRefused, EngineTimeout
from aiservice.core.types import Chunk, Deadline, Embedding, Tokens
from aiservice.engines.embedded_server import EmbeddedServer
from aiservice.engines.embeddings import CHARACTERS_PER_TOKEN, embeddings_chunk, refused_as_too_long
from aiservice.engines.minilm import EmbeddingModel
from aiservice.engines.model import Model
from aiservice.engines.wordpiece import WordPiece

PATH = "/v1/embeddings"
# Of one call, in all: about a second of work.
BATCH_INPUTS = 32
BATCH_TOKENS = 2_048
# Longer lists are split into tokens in a thread: these take the loop 5 ms.
INLINE_CHARACTERS = 2_000
_Input = str | list[int]
_encoder = msgspec.json.Encoder()


class Embedder:
    """The client of the server for embeddings; the vocabulary is read at the first call."""

    def __init__(self, url: str, model: EmbeddingModel) -> None:
        self.model = model
        self._server = EmbeddedServer(url, weights=model.weights, context_length=model.tokens_max)
        self._pieces: WordPiece | None = None

    async def described(self, engine: str) -> Model:
        """The size is unknown until the engine's process has written the file."""
        context_length = await self._server.loaded_context() or 0
        model = self.model
        return Model(
            name=model.name,
            engine=engine,
            digest=await self._server.digest(),
            size_bytes=model.file.stat().st_size if model.file.is_file() else None,
            context_length=min(context_length or model.tokens_max, model.tokens_max),
            is_loaded=context_length > 0,
            capabilities=("embed",),
        )

    async def embed(self, embedding: Embedding, deadline: Deadline) -> Chunk:
        """The chunk of `Engine.embed`."""
        try:
            async with asyncio.timeout(deadline.total_s):
                if embedding.characters > INLINE_CHARACTERS:
                    inputs = await asyncio.to_thread(self._inputs, embedding.inputs)
                else:
                    inputs = self._inputs(embedding.inputs)
                parts = [
                    await self._embed_batch(inputs[part], _part(embedding, part), deadline) for part in _parts(inputs)
                ]
        except TimeoutError:
            raise EngineTimeout(
                f"The engine did not finish its answer within {deadline.total_s:g} s; send fewer inputs, or try again."
            ) from None
        prompt = sum(part.tokens.prompt for part in parts if part.tokens is not None)
        return Chunk(
            "", "stop", Tokens(prompt, 0), vectors=tuple([vector for part in parts for vector in part.vectors])
        )

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _embed_batch(self, inputs: Sequence[_Input], embedding: Embedding, deadline: Deadline) -> Chunk:
        body = _encoder.encode({"model": self.model.name, "input": inputs, "encoding_format": "base64"})
        try:
            return embeddings_chunk(await self._server.post(PATH, body, deadline), embedding)
        except EngineError as error:
            if (refused := refused_as_too_long(error)) is not None:
                raise refused from error
            raise

    def _inputs(self, texts: Sequence[str]) -> Sequence[_Input]:
        """The texts as tokens where the model's own tokenizer is known."""
        if self.model.vocabulary is None:
            return texts
        if self._pieces is None:
            self._pieces = WordPiece(self.model.vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n"))
        return [self._tokens(self._pieces, text) for text in texts]

    def _tokens(self, pieces: WordPiece, text: str) -> list[int]:
        tokens = pieces.tokens(text, count_max=self.model.tokens_max)
        if tokens is None:
            raise EngineRefused(
                f"An input has more than the {self.model.tokens_max} tokens that {self.model.name} takes; "
                "cut it into shorter ones."
            )
        return tokens


def _part(embedding: Embedding, part: slice) -> Embedding:
    return msgspec.structs.replace(embedding, inputs=embedding.inputs[part])


def _parts(inputs: Sequence[_Input]) -> Iterator[slice]:
    """The inputs in their order, in parts that are not too long; one that is too long by itself is alone."""
    begin = tokens = 0
    for end, text in enumerate(inputs):
        length = len(text) // CHARACTERS_PER_TOKEN if isinstance(text, str) else len(text)
        if end > begin and (end - begin == BATCH_INPUTS or tokens + length > BATCH_TOKENS):
            yield slice(begin, end)
            begin, tokens = end, 0
        tokens += length
    yield slice(begin, len(inputs))
