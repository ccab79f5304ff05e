"""A response that is made in the background, as those see it who read along."""

import asyncio
from typing import Protocol

from aiservice.core.errors import AIServiceError
from aiservice.core.types import Chunk
from aiservice.gateway.responses.model import Ending, Name


class Job:
    """The chunks of an answer so far. `is_ending` once nothing can call it off any more."""

    __slots__ = ("_chunks", "_is_over", "_news", "is_ending", "name", "task")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.task: asyncio.Task[None] | None = None
        self.is_ending = False
        self._chunks: list[Chunk] = []
        self._news = asyncio.Event()
        self._is_over = False

    def publish(self, chunk: Chunk) -> None:
        """One more chunk for all who read along."""
        self._chunks.append(chunk)
        self._wake()

    def end(self) -> None:
        """No chunk will follow, and the store knows how it ended."""
        self._is_over = True
        self._wake()

    async def chunk(self, position: int) -> Chunk | None:
        """Waits for the chunk at a position; None once the job is over without one."""
        while position >= len(self._chunks):
            if self._is_over:
                return None
            await self._news.wait()
        return self._chunks[position]

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Work(Protocol):
    """What a job does: the door's part of it."""

    async def make(self, job: Job) -> Ending:
        """The whole answer, its chunks published as they come; raises what the corridor raises."""
        ...

    def failed(self, error: AIServiceError) -> Ending:
        """How an answer ends that failed after it had begun."""
        ...
