"""Which database answers: SQLite files that know the functions by which servers of PostgreSQL tell their positions."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import main_url, open_main
from aiservice.stores.tables import metadata
from aiservice.usage.reading import ASK_S, AWAY_S, Reader
from aiservice.usage.sql import SqlUsageStore
from tests.settings import embedded_in

WHO = sa.text("select who()")


class Server:
    """A database with a name, a position in its log, and faults to switch on."""

    def __init__(self, name: str, *, is_standby: bool) -> None:
        self.name = name
        self.is_standby = is_standby
        self.position: int | None = 7
        self.is_down = False
        self.asked = 0
        self.thawed = threading.Event()
        self.thawed.set()

    def who(self) -> str:
        self.asked += 1
        self._answer()
        return self.name

    def written(self) -> int | None:
        self._answer()
        return self.position

    def _answer(self) -> None:
        self.thawed.wait(10)
        if self.is_down:
            raise OSError

    async def open(self, folder: Path) -> AsyncEngine:
        folder.mkdir()
        plain = sa.create_engine(main_url(folder))
        metadata.create_all(plain)
        plain.dispose()
        engine = open_main(embedded_in(folder))
        sa.event.listen(engine.sync_engine, "connect", self._teach)
        return engine

    def _teach(self, connection: Any, _record: Any) -> None:
        functions = {
            "who": self.who,
            "pg_current_wal_insert_lsn": self.written,
            "pg_last_wal_replay_lsn": lambda: self.position,
            "pg_is_in_recovery": lambda: self.is_standby,
        }
        for name, function in functions.items():
            connection.run_async(lambda driver, n=name, f=function: driver.create_function(n, 0, f))


@asynccontextmanager
async def frozen(server: Server) -> AsyncIterator[None]:
    server.thawed.clear()
    yield
    server.thawed.set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def primary() -> Server:
    return Server("primary", is_standby=False)


@pytest.fixture
def replica() -> Server:
    return Server("replica", is_standby=True)


@pytest.fixture
async def engines(tmp_path: Path, primary: Server, replica: Server) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    pair = await primary.open(tmp_path / "primary"), await replica.open(tmp_path / "replica")
    yield pair
    for server, engine in zip((primary, replica), pair, strict=True):
        server.thawed.set()
        await engine.dispose()


@pytest.fixture
def reader(engines: tuple[AsyncEngine, AsyncEngine], clock: ManualClock) -> Reader:
    return Reader(*engines, clock)


async def answer(reader: Reader) -> str:
    [(name,)] = await reader.read(WHO)
    return str(name)


async def test_without_a_replica_the_primary_is_asked_once(engines, primary, clock):
    reader = Reader(engines[0], None, clock)

    assert await answer(reader) == "primary"
    primary.is_down = True
    with pytest.raises(StoreUnavailable):
        await reader.read(WHO)
    assert primary.asked == 2


async def test_a_replica_that_has_come_as_far_answers(reader, replica):
    assert await answer(reader) == "replica"
    replica.position = 8
    assert await answer(reader) == "replica"


async def test_a_replica_that_comes_as_far_in_time_answers(reader, replica):
    replica.position = 6
    asking = asyncio.create_task(answer(reader))
    await asyncio.sleep(0.05)
    replica.position = 7

    assert await asking == "replica"


@pytest.mark.parametrize("position", [6, None])
async def test_a_replica_that_is_behind_is_passed_over_for_a_while(reader, replica, clock, position):
    replica.position = position
    assert await answer(reader) == "primary"
    replica.position = 7
    assert await answer(reader) == "primary"
    clock.advance_s(AWAY_S)
    assert await answer(reader) == "replica"


async def test_a_replica_that_became_a_primary_has_its_own_position(reader, replica):
    replica.is_standby, replica.position = False, None

    assert await answer(reader) == "replica"


async def test_a_replica_that_is_away_is_passed_over(reader, replica):
    replica.is_down = True

    assert await answer(reader) == "primary"
    assert await answer(reader) == "primary"
    assert replica.asked == 1


async def test_a_replica_that_says_nothing_is_given_up_after_a_second(reader, replica):
    async with frozen(replica):
        began_s = asyncio.get_running_loop().time()
        assert await answer(reader) == "primary"
        assert ASK_S <= asyncio.get_running_loop().time() - began_s < ASK_S + 1


async def test_without_the_primary_the_replica_answers_with_what_it_has(reader, primary, replica, clock):
    primary.is_down, replica.position = True, 3
    assert await answer(reader) == "replica"
    primary.is_down, replica.position = False, 7
    assert await answer(reader) == "replica"
    clock.advance_s(AWAY_S)
    assert await answer(reader) == "replica"


async def test_a_primary_that_goes_while_it_is_asked_leaves_the_replica(reader, primary, replica):
    replica.position = 3
    asking = asyncio.create_task(answer(reader))
    await asyncio.sleep(0.05)
    primary.is_down = True

    assert await asking == "replica"


async def test_without_both_nothing_is_answered(reader, primary, replica):
    primary.is_down = replica.is_down = True

    with pytest.raises(StoreUnavailable):
        await reader.read(WHO)


async def test_a_store_reads_pages_series_and_totals_of_its_replica(engines, clock, make_record):
    """What is only there shows where they come from."""
    store = SqlUsageStore(engines[0], clock, replica=engines[1])
    copy = SqlUsageStore(engines[1], clock)
    row = make_record()
    await copy.insert([row])
    span = {"from_us": 0, "to_us": 2 * row.created_at_us, "group_by": "day"}

    assert await store.page(tenant_id="tenant-1", api_key_id=None, cursor=None, limit=9) == [row]
    assert [group.requests for group in await store.series(tenant_id="tenant-1", api_key_id=None, **span)] == [1]
    assert (await store.totals()).requests == 1


async def test_a_store_asks_its_replica_alone_for_what_is_not_there(engines, clock, make_record):
    store = SqlUsageStore(engines[0], clock, replica=engines[1])
    here, there, nowhere = (make_record() for _ in range(3))
    await store.insert([here])
    await SqlUsageStore(engines[1], clock).insert([there])

    assert store.has_replica
    assert await store.unreplicated([here.id, there.id, nowhere.id]) == [here.id, nowhere.id]
    assert await store.absent([here.id, there.id, nowhere.id]) == [there.id, nowhere.id]
    assert await SqlUsageStore(engines[0], clock).unreplicated([nowhere.id]) == []
