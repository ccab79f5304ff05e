"""Several answers to one prompt: as many calls of the engine at once, their chunks in the order in which they come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from aiservice.core.types import Chunk, Deadline, Generation, Tokens
from aiservice.engines import failures
from aiservice.engines.model import EstimatedTokens
from aiservice.engines.port import Engine

_Queue = asyncio.Queue[Chunk | asyncio.Task[None]]


async def several_choices(
    engine: Engine, model: str, generation: Generation, *, deadline: Deadline
) -> AsyncGenerator[Chunk]:
    """The chunks of `generation.n` choices, each with its index; the last chunk of all has the tokens.

    The prompt counts once, as OpenAI counts it. A seed goes up by one a choice, so that they differ and can be had
    again. The first failure ends all of them. What the caller has not read yet is kept, as much as the choices say.
    """
    queue: _Queue = asyncio.Queue()
    asked = [_choice(generation, index) for index in range(generation.n)]
    tasks = [
        asyncio.create_task(_listen(engine.generate(model, choice, deadline), index, queue))
        for index, choice in enumerate(asked)
    ]
    for task in tasks:
        # A task's end comes after its chunks.
        task.add_done_callback(queue.put_nowait)
    counts: list[Tokens] = []
    try:
        while len(counts) < generation.n:
            said = await queue.get()
            if isinstance(said, asyncio.Task):
                said.result()  # raises what ended it
                continue
            if said.tokens is not None:
                counts.append(said.tokens)
                said = msgspec.structs.replace(said, tokens=_sum(counts) if len(counts) == generation.n else None)
            yield said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _choice(generation: Generation, index: int) -> Generation:
    seed = None if generation.seed is None else _wrapped(generation.seed + index)
    return msgspec.structs.replace(generation, n=1, seed=seed)


def _wrapped(seed: int) -> int:
    return seed if seed < 2**63 else seed - 2**64


async def _listen(chunks: AsyncGenerator[Chunk], index: int, queue: _Queue) -> None:
    is_whole = False
    async with aclosing(chunks):
        async for chunk in chunks:
            is_whole = is_whole or chunk.is_last
            queue.put_nowait(msgspec.structs.replace(chunk, index=index))
    if not is_whole:
        raise failures.cut()


def _sum(counts: list[Tokens]) -> Tokens:
    kind = EstimatedTokens if any(isinstance(count, EstimatedTokens) for count in counts) else Tokens
    return kind(counts[0].prompt, sum(count.completion for count in counts))
