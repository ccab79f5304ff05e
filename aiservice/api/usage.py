"""/usage and /usage/logs: what a key has used and what it has left."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from msgspec.structs import asdict
from pydantic import BaseModel, Field

from aiservice.api.auth import Auth
from aiservice.api.fields import Moment, Uuid
from aiservice.api.guard import caller_of, guarded
from aiservice.api.rooms import Rooms
from aiservice.core.errors import FieldInvalid
from aiservice.core.ids import iso_utc
from aiservice.limits import Allowance, Kind, Owner, Standing
from aiservice.usage import UsageGroup, UsageRecord

SERIES_DAYS_DEFAULT = 30
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AS_OF = (
    "The series has every request whose answer ended before this moment, seldom more than a second ago; "
    "later ones may be in it or not."
)
NANO = 1_000_000_000


class SeriesRow(BaseModel):
    """Sums over one day, model, endpoint or key; `cost` in the currency of the engines' prices."""

    key: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached: int
    cost: float
    avg_response_time_ms: float


class UsageLimit(BaseModel):
    """One limit of the caller as it stands; `reset`: when all of it is there again, null for requests at once."""

    limit: Kind
    of: Owner
    max: int
    used: int
    remaining: int
    reset: str | None


class UsageView(BaseModel):
    """The caller's limits as they stand, and on request sums from the ledger as of a moment.

    `requests_*` and `window_reset` are of the tightest of the limits on requests, as in the X-RateLimit headers.
    """

    requests_used: int
    requests_limit: int
    requests_remaining: int
    window_reset: str
    limits: list[UsageLimit]
    series: list[SeriesRow] | None = None
    as_of: Annotated[str | None, Field(description=AS_OF)] = None


class UsageLog(BaseModel):
    """One row of the ledger."""

    id: str
    api_key_id: str
    tenant_id: str
    endpoint: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    model_used: str | None
    response_cached: bool
    response_time_ms: int
    status_code: int
    error_message: str | None
    created_at: str


class UsagePage(BaseModel):
    """Some rows, newest first; `next_cursor` asks for the ones after them."""

    logs: list[UsageLog]
    next_cursor: str | None


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["usage"], route_class=guarded(rooms, Auth.usage_reader))

    @routes.get("/usage", response_model_exclude_unset=True)
    async def usage(
        request: Request,
        *,
        from_: Annotated[Moment | None, Query(alias="from")] = None,
        to: Annotated[Moment | None, Query()] = None,
        group_by: Annotated[Literal["day", "model", "endpoint", "key"] | None, Query()] = None,
    ) -> UsageView:
        """The caller's limits; with from, to or group_by also sums over its rows, unless said by day over 30 days."""
        caller = caller_of(request)
        view = _view(*await rooms.limits.usage(caller))
        if from_ or to or group_by:
            as_of_us = await rooms.ledger.as_of_us()
            from_us, to_us = _span(from_, to, rooms.clock.now_us())
            groups = await rooms.ledger.series(
                tenant_id=caller.tenant_id,
                api_key_id=caller.logical_id,
                from_us=from_us,
                to_us=to_us,
                group_by=group_by or "day",
            )
            view.series, view.as_of = _series(groups), iso_utc(as_of_us)
        return view

    @routes.get("/usage/logs")
    async def usage_logs(
        request: Request,
        cursor: Annotated[Uuid | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> UsagePage:
        """The caller's own rows, newest first."""
        caller = caller_of(request)
        rows = await rooms.ledger.page(
            tenant_id=caller.tenant_id, api_key_id=caller.logical_id, cursor=cursor, limit=limit + 1
        )
        logs = [_log_of(row) for row in rows[:limit]]
        return UsagePage(logs=logs, next_cursor=logs[-1].id if len(rows) > limit else None)

    return routes


def _view(standing: Standing, allowances: Sequence[Allowance]) -> UsageView:
    return UsageView(
        requests_used=standing.limit - standing.remaining,
        requests_limit=standing.limit,
        requests_remaining=standing.remaining,
        window_reset=iso_utc(standing.reset_at_s * 1_000_000),
        limits=[
            UsageLimit(
                limit=one.limit,
                of=one.of,
                max=one.max,
                used=one.used,
                remaining=one.remaining,
                reset=None if one.reset_at_s is None else iso_utc(one.reset_at_s * 1_000_000),
            )
            for one in allowances
        ],
    )


def _span(from_: datetime | None, to: datetime | None, now_us: int) -> tuple[int, int]:
    """A bound that is not said is a whole hour's, so that no rows need be read: the end of this one, 30 days before."""
    end_us = _us(to) if to else now_us - now_us % HOUR_US + HOUR_US
    start_us = _us(from_) if from_ else (end_us - SERIES_DAYS_DEFAULT * DAY_US) // HOUR_US * HOUR_US
    if start_us > end_us:
        raise FieldInvalid("from is later than to.", param="from")
    return start_us, end_us


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _series(groups: Sequence[UsageGroup]) -> list[SeriesRow]:
    return [
        SeriesRow(
            key=group.key,
            requests=group.requests,
            prompt_tokens=group.prompt_tokens,
            completion_tokens=group.completion_tokens,
            total_tokens=group.prompt_tokens + group.completion_tokens,
            cached=group.cached,
            cost=group.cost_nano / NANO,
            avg_response_time_ms=group.response_time_ms_total / group.requests,
        )
        for group in groups
    ]


def _log_of(row: UsageRecord) -> UsageLog:
    values = asdict(row)
    return UsageLog(
        **{name: values[name] for name in UsageLog.model_fields if name in values},
        total_tokens=row.total_tokens,
        created_at=iso_utc(row.created_at_us),
    )
