"""/health and /metrics: for load balancers and operators."""

from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from aiservice import __version__
from aiservice.api.rooms import Rooms
from aiservice.core.errors import SpoolFull, StoreUnavailable
from aiservice.keys import LOCAL_CALLER
from aiservice.observe.metrics import CONTENT_TYPE

RETRY_AFTER_S = 5

Status = Literal["ok", "degraded", "down"]


class Check(BaseModel):
    """One dependency; `latency_ms` of the question that was asked of it."""

    status: Status
    latency_ms: float


class EngineCheck(BaseModel):
    """One engine and the models it serves."""

    status: Literal["ok", "starting", "down"]
    models: list[str]


class Checks(BaseModel):
    """All dependencies."""

    database: Check
    cache: Check
    limiter: Check
    engines: dict[str, EngineCheck]


class Health(BaseModel):
    """`ok`: all is well. `degraded`: it serves, something is missing. `down`: it cannot serve."""

    status: Status
    version: str
    uptime_seconds: float
    checks: Checks


class Liveness(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.get("/health", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """The service and all it stands on; 503 when it cannot serve."""
        found = await _health(rooms)
        response.status_code = 503 if found.status == "down" else 200
        return found

    @routes.get("/health/live")
    async def live() -> Liveness:
        """Asks nothing of anything else."""
        return Liveness()

    @routes.get("/health/ready")
    async def ready() -> Liveness:
        """Whether it may get traffic: the database answers and the ledger can grow. 503 otherwise."""
        if rooms.ledger.is_full:
            raise SpoolFull(retry_after_s=RETRY_AFTER_S)
        await rooms.keys.count_active()
        return Liveness()

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus' text form, summed over all workers."""
        rooms.metrics.set_spool_bytes(rooms.ledger.health.backlog_bytes)
        return Response(rooms.metrics.render(), media_type=CONTENT_TYPE)

    return routes


async def _health(rooms: Rooms) -> Health:
    checks = Checks(
        database=await _check(rooms, rooms.keys.count_active),
        cache=await _check(rooms, rooms.cache.stats),
        limiter=await _check(rooms, lambda: rooms.limits.peek(LOCAL_CALLER)),
        engines={
            name: EngineCheck(status=status, models=list(models))
            for name, (status, models) in rooms.registry.status().items()
        },
    )
    uptime_s = rooms.clock.monotonic_s() - rooms.started_s
    status = _overall(checks, is_degraded=rooms.ledger.health.is_degraded)
    return Health(status=status, version=__version__, uptime_seconds=round(uptime_s, 3), checks=checks)


async def _check(rooms: Rooms, question: Callable[[], Awaitable[object]]) -> Check:
    started_s = rooms.clock.monotonic_s()
    status: Status = "ok"
    try:
        await question()
    except StoreUnavailable:
        status = "down"
    return Check(status=status, latency_ms=round((rooms.clock.monotonic_s() - started_s) * 1000, 3))


def _overall(checks: Checks, *, is_degraded: bool) -> Status:
    if "down" in (checks.database.status, checks.limiter.status):
        return "down"
    engines = [engine.status for engine in checks.engines.values()]
    is_whole = checks.cache.status == "ok" and engines and all(status == "ok" for status in engines)
    return "ok" if is_whole and not is_degraded else "degraded"
