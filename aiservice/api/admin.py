"""/admin/*: what the operator sees and does with the admin key."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from aiservice.api.auth import Auth
from aiservice.api.guard import guarded
from aiservice.api.rooms import Rooms

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

    @routes.post("/admin/cache/clear")
    async def clear_cache(body: CacheClear | None = None) -> Cleared:
        """Drops cached answers."""
        chosen = body or CacheClear()
        return Cleared(cleared=await rooms.cache.clear(tenant_id=chosen.tenant_id, model=chosen.model))

    return routes
