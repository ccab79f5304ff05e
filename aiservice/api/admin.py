"""/admin/*: what the operator sees and does with the admin key."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from aiservice.api.auth import Auth
from aiservice.api.guard import guarded
from aiservice.api.rooms import Rooms
from aiservice.cache import EntryFacts
from aiservice.core.ids import iso_utc

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class TokenSums(BaseModel):
    """Tokens of all requests; `saved` were answered from the cache."""

    prompt: int
    completion: int
    total: int
    saved: int


class StatsView(BaseModel):
    """The service at a glance, summed over all workers and the ledger's whole life."""

    total_requests: int
    cache_hit_rate: float
    active_api_keys: int
    avg_response_time_ms: float
    models_loaded: list[str]
    requests_by_status: dict[str, int]
    tokens: TokenSums
    uptime_seconds: float


class CacheClear(BaseModel):
    """What to clear: a tenant's entries, a model's, both at once, or with neither everything."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: Name | None = None
    model: Name | None = None


class Cleared(BaseModel):
    """How many live entries are gone."""

    cleared: int


class CachedAnswer(BaseModel):
    """An entry without its answer. `key` is the SHA-256 of the request; the miss that made the entry is in its rate."""

    key: str
    tenant_id: str
    model: str
    bytes: int
    created_at: str
    expires_at: str
    hit_count: int
    hit_rate: float


class CacheView(BaseModel):
    """Live entries, look-ups since the cache was made, and the entries with the most hits."""

    entries: int
    bytes: int
    hits: int
    misses: int
    hit_rate: float
    top: list[CachedAnswer]


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["admin"], route_class=guarded(rooms, Auth.admin))

    @routes.get("/admin/stats")
    async def stats() -> StatsView:
        """Requests, cache, keys, models and tokens."""
        summary = await rooms.stats.summary()
        totals = summary.totals
        return StatsView(
            total_requests=totals.requests,
            cache_hit_rate=round(summary.cache_hit_rate, 4),
            active_api_keys=summary.active_api_keys,
            avg_response_time_ms=round(summary.avg_response_time_ms, 3),
            models_loaded=list(summary.models_loaded),
            requests_by_status={str(status): count for status, count in sorted(totals.by_status.items())},
            tokens=TokenSums(
                prompt=totals.prompt_tokens,
                completion=totals.completion_tokens,
                total=totals.prompt_tokens + totals.completion_tokens,
                saved=totals.tokens_saved,
            ),
            uptime_seconds=round(rooms.clock.monotonic_s() - rooms.started_s, 3),
        )

    @routes.get("/admin/cache")
    async def cache(limit: Annotated[int, Query(ge=1, le=1_000)] = 20) -> CacheView:
        """The cache over all workers, and its most used entries."""
        counts = await rooms.cache.stats()
        return CacheView(
            entries=counts.entries,
            bytes=counts.bytes,
            hits=counts.hits,
            misses=counts.misses,
            hit_rate=round(counts.hit_rate, 4),
            top=[_cached(facts) for facts in await rooms.cache.entries(limit)],
        )

    @routes.post("/admin/cache/clear")
    async def clear_cache(body: CacheClear | None = None) -> Cleared:
        """Drops cached answers."""
        chosen = body or CacheClear()
        return Cleared(cleared=await rooms.cache.clear(tenant_id=chosen.tenant_id, model=chosen.model))

    return routes


def _cached(facts: EntryFacts) -> CachedAnswer:
    return CachedAnswer(
        key=facts.digest,
        tenant_id=facts.tenant_id,
        model=facts.model,
        bytes=facts.bytes,
        created_at=iso_utc(facts.created_at_us),
        expires_at=iso_utc(facts.expires_at_us),
        hit_count=facts.hit_count,
        hit_rate=round(facts.hit_rate, 4),
    )
