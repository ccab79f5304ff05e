"""/admin/limits: what the operator allows a tenant or a user, whatever their keys are."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from aiservice.api.auth import Auth
from aiservice.api.fields import Name, Quota, RuleCursor
from aiservice.api.guard import guarded
from aiservice.api.rooms import Rooms
from aiservice.core.ids import iso_utc
from aiservice.limits import Rule


class SetLimit(BaseModel):
    """The whole rule of a tenant, or of one of its users: what is absent or null is not limited."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tenant_id: Name
    user_id: Name | None = None
    requests_per_hour: Quota | None = None
    tokens_per_hour: Quota | None = None
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None


class LimitRule(BaseModel):
    """A rule as it is stored; null is no limit of that kind."""

    tenant_id: str
    user_id: str | None
    requests_per_hour: int | None
    tokens_per_hour: int | None
    concurrency: int | None
    changed_at: str


class LimitPage(BaseModel):
    """Some rules by tenant and user, a tenant's own first; `next_cursor` asks for the ones after them."""

    limits: list[LimitRule]
    next_cursor: str | None


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["admin"], route_class=guarded(rooms, Auth.admin))

    @routes.post("/admin/limits")
    async def set_limit(body: SetLimit) -> LimitRule:
        """Replaces the limits of a tenant or user, over all its keys together; every worker follows in two seconds."""
        return _rule_of(await rooms.limits.set_rule(Rule(**body.model_dump())))

    @routes.get("/admin/limits")
    async def list_limits(
        *,
        tenant_id: Annotated[Name | None, Query()] = None,
        cursor: Annotated[RuleCursor | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> LimitPage:
        """The rules that were set, of one tenant or of all."""
        found = await rooms.limits.rules(tenant_id=tenant_id, after=_after(cursor), limit=limit + 1)
        limits = [_rule_of(rule) for rule in found[:limit]]
        return LimitPage(limits=limits, next_cursor=_cursor(found[limit - 1]) if len(found) > limit else None)

    return routes


def _after(cursor: str | None) -> tuple[str, str | None] | None:
    if cursor is None:
        return None
    tenant_id, _, user_id = cursor.partition("/")
    return tenant_id, user_id or None


def _cursor(rule: Rule) -> str:
    return f"{rule.tenant_id}/{rule.user_id or ''}"


def _rule_of(rule: Rule) -> LimitRule:
    return LimitRule(
        tenant_id=rule.tenant_id,
        user_id=rule.user_id,
        requests_per_hour=rule.requests_per_hour,
        tokens_per_hour=rule.tokens_per_hour,
        concurrency=rule.concurrency,
        changed_at=iso_utc(rule.changed_at_us),
    )
