"""A corridor over the memory twins of its rooms, which fail on demand."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from aiservice.cache import POLICY_DEFAULT, CachePolicy
from aiservice.cache.memory import MemoryCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import (
    StoreUnavailable,
)
from aiservice.core.ids import uuid7
from aiservice.core.types import Chunk, Deadline, Generation, Message
from aiservice.engines.fake import FakeEngine
from aiservice.gateway import Corridor, Visit
from aiservice.keys import LOCAL_CALLER, Caller
from aiservice.limits import Limits, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.usage import Ledger, Spool, UsageRecord
from aiservice.usage.memory import MemoryUsageStore

NO_STORE = CachePolicy(may_read=False, may_write=False)
CALLER = replace(LOCAL_CALLER, tokens_per_hour=10_000, concurrency=5)


class Disk:
    """Stands for `os.pwrite`; a full one writes nothing."""

    def __init__(self) -> None:
        self.is_full = False

    def write(self, descriptor: int, data: bytes, offset: int) -> int:

        return 0 if self.is_full else os.pwrite(descriptor, data, offset)


class Limiter(MemoryLimiter):
    """Cannot be told what a take came to while `is_down`."""

    is_down = False

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        if self.is_down:
            raise StoreUnavailable
        await super().settle(take, amounts)

    async def refund(self, take: Take) -> None:
        if self.is_down:
            raise StoreUnavailable
        await super().refund(take)


class WatchedLedger(Ledger):
    """Counts how often someone waited for the disk."""

    waits = 0

    async def synced(self) -> None:
        self.waits += 1
        await super().synced()


class HastyCorridor(Corridor):
    """Renews slots that last for 30 s of the manual clock."""

    renew_every_s = 0.01


class OddEngine(FakeEngine):
    """Its model `ends` says a word and no more; `breaks` has a fault."""

    async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if model == "breaks":
            raise ZeroDivisionError
        if model == "ends":
            yield Chunk("one")
            return
        async for chunk in super().generate(model, generation, deadline):
            yield chunk


@dataclass
class House:
    """A corridor and what stands below it."""

    corridor: Corridor
    store: MemoryUsageStore
    limiter: Limiter
    limits: Limits
    cache: MemoryCache
    disk: Disk
    clock: ManualClock
    spool: Spool
    ledger: WatchedLedger

    def visit(self, caller: Caller = CALLER) -> Visit:
        now_us = self.clock.now_us()
        return Visit(uuid7(now_us), "/ai/generate", caller, now_us, self.clock.monotonic_s())

    async def text(self, prompt: str, *, policy: CachePolicy = POLICY_DEFAULT, model: str = "echo") -> str:
        answer = await self.corridor.answer(self.visit(), generation(prompt, model), policy)
        async with aclosing(answer.rest):
            return answer.first.text + "".join([chunk.text async for chunk in answer.rest])

    async def rows(self, count: int) -> list[UsageRecord]:
        for _ in range(200):
            rows = await self.store.page(tenant_id="local", api_key_id=None, cursor=None, limit=1_000)
            if len(rows) >= count:
                break
            await asyncio.sleep(0.01)
        assert len(rows) == count
        return list(rows)

    async def slots_held(self) -> int:
        (held,) = await self.limiter.held((await self.limits.take_for("?", CALLER)).slots)
        return held

    async def tokens_left(self) -> int:
        return next(
            standing.remaining
            for standing in (await self.limits.peek(CALLER)).standings
            if standing.bucket_id.startswith("tokens:")
        )


def generation(prompt: str, model: str = "echo", *, stream: bool = False) -> Generation:
    return Generation(model, (Message("user", prompt),), temperature=0.7, max_tokens=100, stream=stream)
