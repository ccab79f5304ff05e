"""Keys in the main database: `ai_api_keys` and `auth_events`."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.errors import KeyUnknown
from aiservice.keys.model import ApiKey, AuthEvent
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_api_keys, auth_events

_KEYS = ai_api_keys.c
_EVENTS = auth_events.c
_BY_KID = sa.select(ai_api_keys).where(_KEYS.kid == sa.bindparam("kid"))
_BY_ID = sa.select(ai_api_keys).where(_KEYS.id == sa.bindparam("key_id"))
_ENDS_AT = sa.case((_KEYS.is_active, _KEYS.expires_at), else_=sa.null())
_EVENTS_AFTER = (
    sa.select(auth_events, _KEYS.id, _ENDS_AT.label("ends_at"))
    .outerjoin_from(auth_events, ai_api_keys, _KEYS.kid == _EVENTS.kid)
    .where(sa.or_(_EVENTS.seq > sa.bindparam("seq"), _EVENTS.created_at >= sa.bindparam("since_us")))
    .order_by(_EVENTS.seq)
)
_TOUCH = (
    sa.update(ai_api_keys)
    .where(_KEYS.id == sa.bindparam("key_id"))
    .where(
        sa.or_(
            _KEYS.last_used_at.is_(None), _KEYS.last_used_at < sa.bindparam("used_at_us", type_=_KEYS.last_used_at.type)
        )
    )
    .values(last_used_at=sa.bindparam("used_at_us"))
)


class SqlKeyStore:
    """Every method raises `StoreUnavailable` when the database cannot be used. Ids given must be UUIDs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, key: ApiKey, *, retire_id: str | None = None, retire_at_us: int | None = None) -> None:
        async with transaction(self._engine, tenant_id=key.tenant_id) as connection:
            if retire_id is not None and retire_at_us is not None:
                await _retire(connection, retire_id, retire_at_us=retire_at_us, now_us=key.created_at_us)
            await connection.execute(sa.insert(ai_api_keys), _row_of(key))
            await _tell(connection, key.kid, key.created_at_us)

    async def by_kid(self, kid: str) -> ApiKey | None:
        return await self._one(_BY_KID, {"kid": kid})

    async def by_id(self, key_id: str) -> ApiKey | None:
        return await self._one(_BY_ID, {"key_id": key_id})

    async def page(self, *, tenant_id: str | None, cursor: str | None, limit: int) -> Sequence[ApiKey]:
        query = sa.select(ai_api_keys).order_by(_KEYS.id.desc()).limit(limit)
        if tenant_id is not None:
            query = query.where(_KEYS.tenant_id == tenant_id)
        if cursor is not None:
            query = query.where(_KEYS.id < cursor)
        async with self._reading(tenant_id) as connection:
            return [_key_of(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, key_id: str, *, now_us: int) -> bool:
        switch_off = (
            sa.update(ai_api_keys)
            .where(_KEYS.id == key_id, _KEYS.is_active)
            .values(is_active=False)
            .returning(_KEYS.kid)
        )
        async with transaction(self._engine, purpose="keys") as connection:
            kid = (await connection.execute(switch_off)).scalar_one_or_none()
            if kid is not None:
                await _tell(connection, kid, now_us)
        return kid is not None

    async def events_after(self, seq: int, *, since_us: int) -> Sequence[AuthEvent]:
        async with transaction(self._engine, purpose="keys") as connection:
            rows = await connection.execute(_EVENTS_AFTER, {"seq": seq, "since_us": since_us})
            return [AuthEvent(row.seq, row.kid, row.created_at, row.id, row.ends_at or 0) for row in rows]

    async def last_event_seq(self) -> int:
        async with transaction(self._engine, purpose="keys") as connection:
            return int((await connection.execute(sa.select(sa.func.max(_EVENTS.seq)))).scalar_one() or 0)

    async def touch(self, used: Sequence[tuple[str, int]]) -> None:
        if not used:
            return
        async with transaction(self._engine, purpose="keys") as connection:
            rows = [{"key_id": key_id, "used_at_us": used_at_us} for key_id, used_at_us in used]
            await connection.execute(_TOUCH, rows)

    async def count_active(self, *, now_us: int) -> int:
        count = sa.select(sa.func.count()).select_from(ai_api_keys).where(_KEYS.is_active, _KEYS.expires_at > now_us)
        async with transaction(self._engine, purpose="keys") as connection:
            return int((await connection.execute(count)).scalar_one())

    def _reading(self, tenant_id: str | None) -> AbstractAsyncContextManager[AsyncConnection]:
        if tenant_id is None:
            return transaction(self._engine, purpose="keys")
        return transaction(self._engine, tenant_id=tenant_id)

    async def _one(self, query: sa.Select[Any], values: dict[str, str]) -> ApiKey | None:
        async with transaction(self._engine, purpose="keys") as connection:
            row = (await connection.execute(query, values)).mappings().one_or_none()
        return None if row is None else _key_of(row)


async def _retire(connection: AsyncConnection, key_id: str, *, retire_at_us: int, now_us: int) -> None:
    retire_at = sa.literal(retire_at_us, _KEYS.expires_at.type)
    pull_in = (
        sa.update(ai_api_keys)
        .where(_KEYS.id == key_id, _KEYS.is_active)
        .values(expires_at=sa.case((_KEYS.expires_at < retire_at, _KEYS.expires_at), else_=retire_at))
        .returning(_KEYS.kid)
    )
    kid = (await connection.execute(pull_in)).scalar_one_or_none()
    if kid is None:
        raise KeyUnknown
    await _tell(connection, kid, now_us)


async def _tell(connection: AsyncConnection, kid: str, now_us: int) -> None:
    # Inline: a tenant may tell of a change, but not read what was told, not even the number of its own event.
    await connection.execute(sa.insert(auth_events).inline(), {"kid": kid, "created_at": now_us})


def _row_of(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "logical_id": key.logical_id,
        "kid": key.kid,
        "tenant_id": key.tenant_id,
        "user_id": key.user_id,
        "key_name": key.name,
        "key_hash": key.key_hash,
        "key_mac": key.key_mac,
        "mac_version": key.mac_version,
        "tier": key.tier,
        "scopes": list(key.scopes),
        "models": list(key.models),
        "allowed_ips": list(key.allowed_ips),
        "quota_requests_per_hour": key.quota_requests_per_hour,
        "tokens_per_hour": key.tokens_per_hour,
        "concurrency": key.concurrency,
        "is_active": key.is_active,
        "created_at": key.created_at_us,
        "expires_at": key.expires_at_us,
        "last_used_at": key.last_used_at_us,
    }


def _key_of(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        logical_id=row["logical_id"],
        kid=row["kid"],
        tenant_id=row["tenant_id"],
        user_id=row["user_id"],
        name=row["key_name"],
        key_hash=row["key_hash"],
        key_mac=row["key_mac"],
        mac_version=row["mac_version"],
        tier=row["tier"],
        scopes=tuple(row["scopes"]),
        models=tuple(row["models"]),
        allowed_ips=tuple(row["allowed_ips"]),
        quota_requests_per_hour=row["quota_requests_per_hour"],
        tokens_per_hour=row["tokens_per_hour"],
        concurrency=row["concurrency"],
        is_active=row["is_active"],
        created_at_us=row["created_at"],
        expires_at_us=row["expires_at"],
        last_used_at_us=row["last_used_at"],
    )
