"""Which database answers a read: the replica while it has what the primary has, else the primary."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import transaction
from aiservice.usage.forms import HAS_REACHED, POSITION

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from sqlalchemy import Executable, Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from aiservice.core.clock import Clock

    Rows = Sequence[Row[*tuple[Any, ...]]]

# Longest wait for the primary's position and for the replica's answer, and in it for the replica to catch up.
ASK_S = 1.0
CATCH_UP_S = 0.25
# A database that did not answer is left alone for so long.
AWAY_S = 2.0
_POLL_S = 0.01


class Reader:
    """Reads by one statement.

    With a replica, the primary is asked how far it has written, and the replica answers once it has come so far: the
    answer has all that was committed before the question. A replica that is not there in 0.25 s, or has not answered
    in 1 s, is passed over, and left alone for 2 s. A primary that has not said its position in 1 s is left alone as
    long: meanwhile the replica answers with what it has.
    """

    def __init__(self, primary: AsyncEngine, replica: AsyncEngine | None, clock: Clock) -> None:
        self._primary = primary
        self._replica = replica
        self._clock = clock
        self._primary_away_until_s = 0.0
        self._replica_away_until_s = 0.0
        self._asked: set[asyncio.Task[Any]] = set()

    async def read(self, query: Select[Any], *, tenant_id: str | None = None) -> Rows:
        """Raises `StoreUnavailable` when neither database can be asked."""
        if self._replica is None:
            return await _rows(self._primary, query, tenant_id)
        position = await self._position()
        if position is not None:
            with suppress(StoreUnavailable):
                return await self._current(self._replica, query, tenant_id, position=position)
            with suppress(StoreUnavailable):
                return await _rows(self._primary, query, tenant_id)
        return await self._within(_rows(self._replica, query, tenant_id))

    async def _position(self) -> str | None:
        """How far the primary has written; None when it does not say."""
        if self._clock.monotonic_s() < self._primary_away_until_s:
            return None
        try:
            [(position,)] = await self._within(_rows(self._primary, POSITION, None))
        except StoreUnavailable:
            self._primary_away_until_s = self._clock.monotonic_s() + AWAY_S
            return None
        return str(position)

    async def _current(self, replica: AsyncEngine, query: Select[Any], tenant_id: str | None, *, position: str) -> Rows:
        """The replica's answer at this position or later."""
        if self._clock.monotonic_s() < self._replica_away_until_s:
            raise StoreUnavailable(detail="the replica did not answer lately")
        try:
            return await self._within(_rows(replica, query, tenant_id, at=position))
        except StoreUnavailable:
            self._replica_away_until_s = self._clock.monotonic_s() + AWAY_S
            raise

    async def _within(self, asking: Coroutine[Any, Any, Rows]) -> Rows:
        """Its result, or `StoreUnavailable` after 1 s: the end of a connection to a silent server is not waited for."""
        task = asyncio.create_task(asking)
        self._asked.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait([task], timeout=ASK_S)
        if done:
            return task.result()
        task.cancel()
        raise StoreUnavailable(detail="the database did not answer in time")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()


async def _rows(engine: AsyncEngine, query: Executable, tenant_id: str | None, *, at: str | None = None) -> Rows:
    """What one statement gives, for a tenant or for the ledger, at a position of the log if one is named."""
    begun = transaction(engine, purpose="ledger") if tenant_id is None else transaction(engine, tenant_id=tenant_id)
    async with begun as connection:
        if at is not None:
            await _catch_up(connection, at)
        return (await connection.execute(query)).all()


async def _catch_up(connection: AsyncConnection, position: str) -> None:
    """Returns when the replica has come to a position; what is asked after it sees all that was written before."""
    for _ in range(round(CATCH_UP_S / _POLL_S)):
        if (await connection.execute(HAS_REACHED, {"position": position})).scalar_one():
            return
        await asyncio.sleep(_POLL_S)
    raise StoreUnavailable(detail="the replica is behind")
