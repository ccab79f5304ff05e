"""/health and /metrics: for load balancers and operators."""

from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from aiservice import __version__
from aiservice.admin.health import Finding, Findings, Status
from aiservice.api.rooms import Rooms
from aiservice.observe.metrics import CONTENT_TYPE


class Check(BaseModel):
    """One dependency; `latency_ms` of the question that was asked of it."""

    status: Status
    latency_ms: float


class SpoolCheck(BaseModel):
    """Usage that is not in the database yet, of all workers of this instance, and what its disk has left."""

    status: Status
    backlog_bytes: int
    free_bytes: int


class EngineCheck(BaseModel):
    """One engine and the models it serves."""

    status: Literal["ok", "starting", "down"]
    models: list[str]


class Checks(BaseModel):
    """All dependencies; `replica` is null where there is none."""

    database: Check
    replica: Check | None
    cache: Check
    limiter: Check
    spool: SpoolCheck
    engines: dict[str, EngineCheck]


class Health(BaseModel):
    """`ok`: all is well. `degraded`: it serves, something is missing. `down`: it can answer nothing."""

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
        """The service and all it stands on, as one worker sees it; 503 when it can answer nothing."""
        found = await _health(rooms)
        response.status_code = 503 if found.status == "down" else 200
        return found

    @routes.get("/health/live")
    async def live() -> Liveness:
        """Asks nothing of anything else."""
        return Liveness()

    @routes.get("/health/ready")
    async def ready() -> Liveness:
        """Whether it may get traffic: 200 also while a store is away that it can do without, 503 otherwise."""
        await rooms.health.ensure_ready()
        return Liveness()

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus' text form, summed over all workers."""
        rooms.metrics.set_spool_bytes(rooms.ledger.health.backlog_bytes)
        rooms.health.measure(rooms.metrics)
        return Response(rooms.metrics.render(), media_type=CONTENT_TYPE)

    return routes


async def _health(rooms: Rooms) -> Health:
    found = await rooms.health.findings()
    spool = rooms.ledger.health
    checks = Checks(
        database=_check(found.database),
        replica=None if found.replica is None else _check(found.replica),
        cache=_check(found.cache),
        limiter=_check(found.limiter),
        spool=SpoolCheck(status=found.spool.status, backlog_bytes=spool.backlog_bytes, free_bytes=spool.free_bytes),
        engines={
            name: EngineCheck(status=status, models=list(models))
            for name, (status, models) in rooms.registry.status().items()
        },
    )
    uptime_s = rooms.clock.monotonic_s() - rooms.started_s
    status = _overall(found, checks.engines) if rooms.health.can_serve(found) else "down"
    return Health(status=status, version=__version__, uptime_seconds=round(uptime_s, 3), checks=checks)


def _check(found: Finding) -> Check:
    return Check(status=found.status, latency_ms=found.latency_ms)


def _overall(found: Findings, engines: Mapping[str, EngineCheck]) -> Status:
    stores = (found.database, found.replica, found.cache, found.limiter, found.spool)
    statuses = [store.status for store in stores if store is not None]
    statuses_of_engines = [engine.status for engine in engines.values()]
    is_whole = engines and all(status == "ok" for status in (*statuses, *statuses_of_engines))
    return "ok" if is_whole else "degraded"
