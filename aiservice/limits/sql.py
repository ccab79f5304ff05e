"""The operator's rules in the main database: `ai_limits`."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.limits.model import Rule
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_limits

_LIMITS = ai_limits.c
# The tenant itself has the empty user, which comes before every other.
_ORDER = (_LIMITS.tenant_id, _LIMITS.user_id)
_NEWEST = sa.select(sa.func.max(_LIMITS.changed_at))
_FIND = (
    sa.select(ai_limits)
    .where(_LIMITS.tenant_id == sa.bindparam("tenant_id"), _LIMITS.user_id.in_(["", sa.bindparam("user_id")]))
    .order_by(_LIMITS.user_id.desc())
)
_CHANGED = sa.select(ai_limits).where(_LIMITS.changed_at > sa.bindparam("since_us", type_=_LIMITS.changed_at.type))


class SqlRuleStore:
    """Over SQLite and PostgreSQL. Every method raises `StoreUnavailable` when the database cannot be used."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        insert = (sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert)(ai_limits)
        values = {column.name: insert.excluded[column.name] for column in ai_limits.columns if not column.primary_key}
        self._put = insert.on_conflict_do_update(index_elements=list(ai_limits.primary_key), set_=values)

    async def put(self, rule: Rule) -> Rule:
        async with transaction(self._engine, purpose="limits") as connection:
            newest_us = (await connection.execute(_NEWEST)).scalar_one() or 0
            stored = replace(rule, changed_at_us=max(self._clock.now_us(), newest_us + 1))
            await connection.execute(self._put, _row_of(stored))
        return stored

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        return await self._rules(tenant_id, _FIND, {"tenant_id": tenant_id, "user_id": user_id or ""})

    async def page(self, *, tenant_id: str | None, after: tuple[str, str | None] | None, limit: int) -> Sequence[Rule]:
        query = sa.select(ai_limits).order_by(*_ORDER).limit(limit)
        if tenant_id is not None:
            query = query.where(_LIMITS.tenant_id == tenant_id)
        if after is not None:
            is_same = sa.and_(_LIMITS.tenant_id == after[0], _LIMITS.user_id > (after[1] or ""))
            query = query.where(sa.or_(_LIMITS.tenant_id > after[0], is_same))
        return await self._rules(tenant_id, query)

    async def newest_us(self) -> int:
        async with transaction(self._engine, purpose="limits") as connection:
            return (await connection.execute(_NEWEST)).scalar_one() or 0

    async def changed_after(self, since_us: int) -> Sequence[Rule]:
        return await self._rules(None, _CHANGED, {"since_us": since_us})

    async def _rules(
        self, tenant_id: str | None, query: sa.Select[Any], values: dict[str, str | int] | None = None
    ) -> Sequence[Rule]:
        async with self._reading(tenant_id) as connection:
            return [_rule_of(row) for row in (await connection.execute(query, values)).mappings()]

    def _reading(self, tenant_id: str | None) -> AbstractAsyncContextManager[AsyncConnection]:
        if tenant_id is None:
            return transaction(self._engine, purpose="limits")
        return transaction(self._engine, tenant_id=tenant_id)


def _row_of(rule: Rule) -> dict[str, Any]:
    return {
        "tenant_id": rule.tenant_id,
        "user_id": rule.user_id or "",
        "requests_per_hour": rule.requests_per_hour,
        "tokens_per_hour": rule.tokens_per_hour,
        "concurrency": rule.concurrency,
        "changed_at": rule.changed_at_us,
    }


def _rule_of(row: sa.RowMapping) -> Rule:
    return Rule(
        tenant_id=row["tenant_id"],
        user_id=row["user_id"] or None,
        requests_per_hour=row["requests_per_hour"],
        tokens_per_hour=row["tokens_per_hour"],
        concurrency=row["concurrency"],
        changed_at_us=row["changed_at"],
    )
