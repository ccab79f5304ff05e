"""What an engine does. A new engine is one file with this shape and one row in `registry.py`."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from aiservice.core.types import Chunk, Deadline, Embedding, Generation
from aiservice.engines.model import Model, PullProgress


class Engine(Protocol):
    """A server of language models. Turns its own failures into `EngineError`s in its own file."""

    name: str

    async def models(self) -> Sequence[Model]:
        """What it can serve now; raises `EngineUnreachable` when nothing answers."""
        ...

    def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        """The answer in pieces; the last has finish reason and token counts. An answer that is cut raises.

        `model` is the engine's own name of it. Closing the iterator closes the connection, so that the engine's slot
        is free within 200 ms. When `generation.stream` is false the engine may give the whole answer as one chunk.
        It is never asked for more than one choice: `Route.ask` sees to that.
        """
        ...

    def embed(self, model: str, embedding: Embedding, deadline: Deadline) -> AsyncGenerator[Chunk]:
        """One chunk with the vectors of all inputs, no text, `stop`, and the tokens of the inputs.

        Raises `EngineRefused` where the model makes no vectors or an input is too long for it.
        """
        ...

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Fetches a model; raises `EngineRefused` where an engine cannot."""
        ...

    async def aclose(self) -> None: ...
