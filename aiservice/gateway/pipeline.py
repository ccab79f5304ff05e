"""The corridor: admit -> look up -> dispatch -> record. Every door's every request walks through here."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import ClassVar, TypeVar

from aiservice.cache import CacheKey, CachePolicy, Entry, ResponseCache
from aiservice.core.errors import AIServiceError, EngineTimeout, KeyRefused, ModelUnfit, NotAllowed, NotCached
from aiservice.core.types import Asked, Chunk, Deadline, Embedding
from aiservice.engines import Model, Registry, Route
from aiservice.gateway.flights import Flight, Flights
from aiservice.gateway.form import form_of
from aiservice.gateway.heartbeat import Heartbeat
from aiservice.gateway.model import Answer, CacheState, Errand, Transcript, Visit
from aiservice.gateway.pricing import prompt_estimate
from aiservice.gateway.recorder import Making, Reading, Recorder
from aiservice.gateway.work import Consultant, Working
from aiservice.keys import Caller, Keys
from aiservice.limits import RENEW_EVERY_S, Decision, Limits, Take

_Done = TypeVar("_Done")
_LOOK = "GET /ai/models tells what each model can."


class Corridor:
    """Joins the rooms: keys, limits, cache, engines and ledger. One per worker."""

    renew_every_s: ClassVar[float] = RENEW_EVERY_S

    def __init__(
        self,
        *,
        keys: Keys,
        limits: Limits,
        cache: ResponseCache,
        registry: Registry,
        recorder: Recorder,
        deadline: Deadline,
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._cache = cache
        self._registry = registry
        self._recorder = recorder
        self._deadline = deadline
        self._flights = Flights(cache)

    async def answer(self, visit: Visit, asked: Asked, policy: CachePolicy) -> Answer:
        """The whole life of a request; returns when the first chunk is there.

        Raises what the rooms raise. Whatever happens, the ledger gets the request's row.
        """
        try:
            route = self._route(visit, asked)
            form = form_of(asked)
            estimate = prompt_estimate(asked)
            take, decision = await self._admit(visit, estimate + asked.completion_tokens_max)
            key, entry = await self._look_up(visit, asked, route, policy=policy)
            if entry is None and policy.only_if_cached:
                await self._limits.settle(take, tokens=0)
                raise NotCached
        except (AIServiceError, asyncio.CancelledError) as error:
            self.refuse(visit, error, model=asked.model)
            raise
        if entry is not None:
            return await self._replay(visit, entry, take=take, decision=decision)
        errand = Errand(visit, asked, form, route, take, decision, key if policy.may_write else None, estimate)
        if key is not None and policy.may_read and policy.may_write:
            return await self._share(errand, key, policy)
        return await self._begun(errand, self._make(errand, None), "BYPASS" if key is None else "MISS")

    async def perform(
        self, visit: Visit, work: Callable[[Consultant], Awaitable[_Done]], *, tokens_estimate: int = 0
    ) -> tuple[_Done, Decision]:
        """The whole life of a request that work of our own answers; it asks models through the consultant alone.

        `tokens_estimate` is what those may come to, for limits on tokens. Raises what the rooms and the work raise.
        """
        try:
            take, decision = await self._admit(visit, tokens_estimate)
        except (AIServiceError, asyncio.CancelledError) as error:
            self.refuse(visit, error)
            raise
        consultant = Consultant(self._recorder, visit, route=self._route, deadline=self._deadline)
        async with Working(self._recorder, visit, take, spent=consultant.spent):
            with self._holding(take):
                return await work(consultant), decision

    def refuse(self, visit: Visit, error: AIServiceError | asyncio.CancelledError, *, model: str | None = None) -> None:
        """Records that a known caller was refused, or left, before any engine worked on the request."""
        self._recorder.refused(visit, error, model=model)

    async def standing(self, caller: Caller) -> Decision:
        """How the caller's limits stand; takes nothing."""
        return await self._limits.peek(caller)

    async def aclose(self) -> None:
        """Ends the answers that are still being made, and records them."""
        await self._flights.aclose()

    def _route(self, visit: Visit, asked: Asked) -> Route:
        route = self._registry.resolve(asked.model)
        if not visit.caller.may_use(route.model.name, route.model.id):
            raise NotAllowed(f"This key may not use the model {route.model.name}.", param="model")
        _refuse_unfit(route.model, asked)
        return route

    async def _admit(self, visit: Visit, tokens: int) -> tuple[Take, Decision]:
        take = await self._limits.take_for(visit.id, visit.caller, tokens_estimate=tokens)
        return take, await self._limits.take(take)

    async def _look_up(
        self, visit: Visit, asked: Asked, route: Route, *, policy: CachePolicy
    ) -> tuple[CacheKey | None, Entry | None]:
        """The request's key and entry; no key when the caller wants nothing to do with the cache."""
        if not (policy.may_read or policy.may_write):
            self._recorder.looked_up("BYPASS")
            return None, None
        model = route.model
        tenant_id = visit.caller.tenant_id
        key = self._cache.key(asked, tenant_id=tenant_id, model=model.name, model_digest=model.digest)
        entry = await self._cache.look_up(key, policy)
        if entry is None and policy.only_if_cached:
            self._recorder.looked_up("MISS")
        return key, entry

    async def _replay(self, visit: Visit, entry: Entry, *, take: Take, decision: Decision) -> Answer:
        kept = entry.completion
        self._recorder.looked_up("HIT")
        await self._recorder.replayed(visit, take, model=kept.model, saved=kept.tokens)
        age_s = max(0, (visit.created_at_us - entry.created_at_us) // 1_000_000)
        first, *others = kept.choices
        return Answer(kept.model, kept.engine, "HIT", decision, first, _each(others), age_s)

    async def _share(self, errand: Errand, key: CacheKey, policy: CachePolicy) -> Answer:
        """Of equal requests that run at once one calls the engine, and the others get its answer."""
        with self._holding(errand.take):
            async with Reading(self._recorder, errand, None):
                boarded = await self._board(errand, key, policy)
        if isinstance(boarded, Entry):
            return await self._replay(errand.visit, boarded, take=errand.take, decision=errand.decision)
        if boarded.lease_id != errand.visit.id:
            return await self._begun(errand, self._read(errand, boarded), "HIT")
        self._flights.depart(boarded, self._make(errand, boarded))
        return await self._begun(errand, self._read(errand, boarded), "MISS")

    async def _board(self, errand: Errand, key: CacheKey, policy: CachePolicy) -> Flight | Entry:
        try:
            async with asyncio.timeout(self._deadline.total_s):
                return await self._flights.board(key, errand.visit.id, policy)
        except TimeoutError:
            raise EngineTimeout("The answer to an equal request, which this one waited for, did not come.") from None

    async def _begun(self, errand: Errand, chunks: AsyncGenerator[Chunk], state: CacheState) -> Answer:
        """The answer once its first chunk is there."""
        if state != "BYPASS":
            self._recorder.looked_up(state)
        first = await anext(chunks)
        model = errand.route.model
        return Answer(model.name, model.engine, state, errand.decision, first, chunks, 0 if state == "HIT" else None)

    async def _read(self, errand: Errand, flight: Flight) -> AsyncGenerator[Chunk]:
        """The flight's chunks, for the one who leads it and for those who follow. A revoked key ends its streams."""
        try:
            with self._holding(errand.take):
                async with Reading(self._recorder, errand, flight) as reading:
                    position = 0
                    while True:
                        chunk = await flight.chunk(position)
                        position += 1
                        if chunk.tokens is not None and chunk.is_last:
                            await reading.whole(chunk.tokens)
                        else:
                            self._refuse_revoked(errand.visit)
                        yield chunk
                        if chunk.is_last:
                            return
        finally:
            self._flights.leave(flight)

    async def _make(self, errand: Errand, flight: Flight | None) -> AsyncGenerator[Chunk]:
        """The engine's chunks. The row is written before the last one is handed out, or when it fails or is left."""
        async with Making(self._recorder, errand, flight) as transcript:
            chunks = errand.route.ask(errand.asked, self._deadline)
            async with aclosing(chunks):
                with self._holding(errand.take):
                    async for chunk in chunks:
                        if transcript.is_empty and errand.asked.stream:
                            self._recorder.first_chunk(errand, transcript)
                        transcript.add(chunk)
                        if transcript.is_complete:
                            await self._recorder.completed(errand, transcript, flight)
                        else:
                            self._watch(errand, transcript, flight)
                        yield chunk
            transcript.ensure_complete()

    def _holding(self, take: Take) -> AbstractContextManager[None]:
        """Keeps the slots of a long request, which lapse after 30 s."""
        return Heartbeat(lambda: self._limits.renew(take), every_s=self.renew_every_s) if take.slots else nullcontext()

    def _watch(self, errand: Errand, transcript: Transcript, flight: Flight | None) -> None:
        """Between two chunks: the spool hears how far the answer got."""
        if flight is None:
            self._refuse_revoked(errand.visit)
        self._recorder.progressed(errand.visit, transcript)

    def _refuse_revoked(self, visit: Visit) -> None:
        if self._keys.is_revoked(visit.caller):
            raise KeyRefused


def _refuse_unfit(model: Model, asked: Asked) -> None:
    if isinstance(asked, Embedding):
        if "embed" not in model.capabilities:
            raise ModelUnfit(f"The model {model.name} makes no embeddings; {_LOOK}", param="model")
    elif "chat" not in model.capabilities:
        raise ModelUnfit(f"The model {model.name} makes embeddings only; {_LOOK}", param="model")
    elif "vision" not in model.capabilities and any(message.images for message in asked.messages):
        raise ModelUnfit(f"The model {model.name} takes no images; {_LOOK}", param="messages")


async def _each(chunks: Sequence[Chunk]) -> AsyncGenerator[Chunk]:
    for chunk in chunks:
        yield chunk
