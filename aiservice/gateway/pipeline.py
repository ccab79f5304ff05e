"""The corridor: admit -> look up -> dispatch -> record. Every door's every request walks through here."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiservice.cache import CacheKey, CachePolicy, Entry, ResponseCache
from aiservice.core.errors import AIServiceError, EngineError, KeyRefused, NotAllowed, NotCached, SpoolFull
from aiservice.core.types import Chunk, Deadline, Generation
from aiservice.engines import Registry, Route
from aiservice.gateway.lease import Renewal
from aiservice.gateway.model import Answer, CacheState, Errand, Transcript, Visit
from aiservice.gateway.pricing import prompt_estimate
from aiservice.gateway.recorder import Recorder
from aiservice.keys import Caller, Keys
from aiservice.limits import Decision, Limits, Take


class Corridor:
    """Joins the rooms: keys, limits, cache, engines and ledger. One per worker."""

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

    async def answer(self, visit: Visit, generation: Generation, policy: CachePolicy) -> Answer:
        """The whole life of a request; returns when the first chunk is there.

        Raises what the rooms raise. Whatever happens, the ledger gets the request's row.
        """
        try:
            route = self._route(visit, generation)
            estimate = prompt_estimate(generation)
            take, decision = await self._admit(visit, estimate + generation.max_tokens)
            key, entry = await self._look_up(visit, generation, route, policy=policy)
            if entry is None and policy.only_if_cached:
                await self._limits.settle(take, tokens=0)
                raise NotCached
        except AIServiceError as error:
            self.refuse(visit, error, model=generation.model)
            raise
        if entry is not None:
            await self._limits.settle(take, tokens=0)
            return self._replay(visit, entry, decision)
        rest = self._dispatch(Errand(visit, generation, route, take, key if policy.may_write else None, estimate))
        first = await anext(rest)
        state: CacheState = "BYPASS" if key is None else "MISS"
        return Answer(route.model.name, route.model.engine, state, decision, first, rest)

    def refuse(self, visit: Visit, error: AIServiceError, *, model: str | None = None) -> None:
        """Records that a known caller was refused before any engine worked on the request."""
        self._recorder.refused(visit, error, model=model)

    async def standing(self, caller: Caller) -> Decision:
        """How the caller's limits stand; takes nothing."""
        return await self._limits.peek(caller)

    def _route(self, visit: Visit, generation: Generation) -> Route:
        route = self._registry.resolve(generation.model)
        allowed = visit.caller.models
        if allowed and route.model.name not in allowed and route.model.id not in allowed:
            raise NotAllowed(f"This key may not use the model {route.model.name}.", param="model")
        return route

    async def _admit(self, visit: Visit, tokens: int) -> tuple[Take, Decision]:
        take = self._limits.take_for(visit.id, visit.caller, tokens_estimate=tokens)
        return take, await self._limits.take(take)

    async def _look_up(
        self, visit: Visit, generation: Generation, route: Route, *, policy: CachePolicy
    ) -> tuple[CacheKey | None, Entry | None]:
        """The request's key and entry; no key when the caller wants nothing to do with the cache."""
        if not (policy.may_read or policy.may_write):
            self._recorder.looked_up("BYPASS")
            return None, None
        model = route.model
        tenant_id = visit.caller.tenant_id
        key = self._cache.key(generation, tenant_id=tenant_id, model=model.name, model_digest=model.digest)
        entry = await self._cache.look_up(key, policy)
        self._recorder.looked_up("MISS" if entry is None else "HIT")
        return key, entry

    def _replay(self, visit: Visit, entry: Entry, decision: Decision) -> Answer:
        kept = entry.completion
        self._recorder.replayed(visit, kept.model, kept.tokens)
        age_s = max(0, (visit.created_at_us - entry.created_at_us) // 1_000_000)
        first = Chunk(kept.text, kept.finish_reason, kept.tokens)
        return Answer(kept.model, kept.engine, "HIT", decision, first, _nothing(), age_s)

    async def _dispatch(self, errand: Errand) -> AsyncGenerator[Chunk]:
        """The engine's chunks. The row is written before the last one is handed out, or when it fails or is left."""
        transcript = await self._start(errand)
        try:
            chunks = errand.route.engine.generate(errand.route.model.name, errand.generation, self._deadline)
            with Renewal(self._limits, errand.take):
                async with aclosing(chunks):
                    async for chunk in chunks:
                        if transcript.is_empty and errand.generation.stream:
                            self._recorder.first_chunk(errand, transcript)
                        transcript.add(chunk)
                        if transcript.is_complete:
                            await self._recorder.completed(errand, transcript)
                        else:
                            self._watch(errand, transcript)
                        yield chunk
            if not transcript.is_complete:
                raise EngineError("The engine's answer was cut off.")
        except BaseException as error:
            # However it ends, also when the client leaves: the request has its row.
            if not transcript.is_complete:
                await self._recorder.failed(errand, transcript, error)
            raise

    async def _start(self, errand: Errand) -> Transcript:
        try:
            return self._recorder.started(errand)
        except SpoolFull:
            await self._limits.refund(errand.take)
            raise

    def _watch(self, errand: Errand, transcript: Transcript) -> None:
        """Between two chunks: a revoked key ends its streams, and the spool hears how far the answer got."""
        if self._keys.is_revoked(errand.visit.caller):
            raise KeyRefused
        self._recorder.progressed(errand, transcript)


async def _nothing() -> AsyncGenerator[Chunk]:
    return
    yield
