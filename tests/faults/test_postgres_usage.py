"""The ledger over a PostgreSQL that is stopped, killed, frozen, cut off or replaced by its replica, while it ships.

FAULTS=full does it ten times as often.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiservice.core.clock import SystemClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings, load
from aiservice.stores.databases import open_main, open_owner, open_replica
from aiservice.stores.migrate import upgrade
from aiservice.usage import UsageRecord, reconcile
from aiservice.usage.sql import SqlUsageStore
from tests.conformance.test_usage_store import row
from tests.faults.books import connected, dead_letters_of, read_rows_of, sums_of
from tests.faults.proxy import ProxyProcess, proxying
from tests.faults.shippers import Shippers, shipping
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import PostgresServer, Urls

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

IS_FULL = os.environ.get("FAULTS") == "full"
TIMES = 50 if IS_FULL else 5
PROCESSES = 3
RATE = 300
STANDBY = "standby"
SPAN = {"api_key_id": None, "from_us": 0, "to_us": 1 << 52, "group_by": "day"}


@asynccontextmanager
async def serving(binaries: PostgresBinaries, template: Path, **options: str) -> AsyncIterator[PostgresServer]:
    server = await asyncio.to_thread(PostgresServer.start, binaries, template=template, is_durable=True, **options)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.close)


@asynccontextmanager
async def copying(server: PostgresServer) -> AsyncIterator[PostgresServer]:
    replica = await asyncio.to_thread(server.replica, STANDBY)
    try:
        yield replica
    finally:
        await asyncio.to_thread(replica.close)


def environ_of(urls: Urls, folder: Path, **stores: str) -> dict[str, str]:
    return {"DATA_DIR": str(folder), "POSTGRES_URL": urls.app, "POSTGRES_OWNER_URL": urls.owner, **stores}


def settings_of(environ: dict[str, str]) -> Settings:
    return load({"ENVIRONMENT": "test", **environ})


async def migrated(server: PostgresServer, folder: Path) -> Urls:
    urls = await asyncio.to_thread(server.new_database)
    await asyncio.to_thread(upgrade, settings_of(environ_of(urls, folder)))
    return urls


async def faults_of(urls: Urls, shippers: Shippers, folder: Path) -> list[str]:
    """Everything in which the ledger differs from what was recorded; empty is the promise."""
    ids = [row.id for row in await read_rows_of(urls.superuser)]
    found = [] if len(ids) == len(set(ids)) else [f"{len(ids) - len(set(ids))} rows are there twice"]
    if lost := shippers.said.difference(ids):
        found.append(f"{len(lost)} of {len(shippers.said)} recorded requests have no row")
    if letters := await dead_letters_of(urls.superuser):
        found.append(f"{letters} dead letters")
    sums = await sums_of(urls.superuser)
    if not sums["rows"] == sums["rollups"] == sums["totals"] or sums["rows"][0] != len(ids):
        found.append(f"{len(ids)} rows have the sums {sums}")
    owner = open_owner(settings_of(environ_of(urls, folder)))
    books = await reconcile(SqlUsageStore(owner, SystemClock()), shippers.root, from_us=0)
    await owner.dispose()
    left = [folder.name for folder in shippers.root.iterdir()]
    return found if books.agrees and not left else [*found, f"{books} with {left}"]


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


def every_fault(server: PostgresServer, line: ProxyProcess) -> list[tuple[Callable[[], Awaitable[None]], ...]]:
    """What befalls the database, and what ends it."""
    start = lambda: in_thread(server.start_again)  # noqa: E731 - pairs of a table
    return [
        (lambda: in_thread(server.kill), start),
        (lambda: in_thread(server.freeze), lambda: in_thread(server.thaw)),
        (line.cut, line.heal),
        (line.half_open, line.heal),
        (line.reset, line.heal),
    ]


async def test_immediate_stops_lose_and_double_nothing(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path
) -> None:
    async with serving(postgres, postgres_template) as server:
        urls = await migrated(server, tmp_path)
        environ = environ_of(urls, tmp_path)
        async with shipping(tmp_path / "spool", environ, processes=PROCESSES, rate=RATE) as shippers:
            for number in range(TIMES):
                await shippers.more(RATE)
                await asyncio.to_thread(server.stop_immediate)
                await shippers.more(RATE)
                await asyncio.to_thread(server.start_again)
                if number % 3 == 1:
                    await shippers.kill_one()
                    await shippers.start(RATE)
            await shippers.more(RATE)
            await shippers.stop()
        assert await faults_of(urls, shippers, tmp_path) == []
        print(f"{TIMES} immediate stops, {len(shippers.said)} requests")  # noqa: T201 - the figures of a run


async def test_whatever_befalls_the_database_every_row_is_there_once(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path
) -> None:
    """Statements time out whose end nobody knows; their rows are sent again."""
    async with serving(postgres, postgres_template) as server, proxying(server.port) as line:
        urls = await migrated(server, tmp_path)
        environ = environ_of(urls, tmp_path, POSTGRES_URL=urls.app.replace(f":{server.port}/", f":{line.port}/"))
        async with shipping(tmp_path / "spool", environ, processes=PROCESSES, rate=RATE) as shippers:
            for befall, end in every_fault(server, line):
                await shippers.more(RATE)
                await befall()
                # Longer than any deadline.
                await asyncio.sleep(8)
                await end()
            await shippers.more(RATE)
            await shippers.stop()
        assert await faults_of(urls, shippers, tmp_path) == []


@pytest.mark.parametrize("is_synchronous", [True, False], ids=["synchronous", "asynchronous"])
async def test_a_promotion_loses_nothing_that_was_recorded(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path, is_synchronous: bool
) -> None:
    """Without synchronous commits the primary dies with rows that its replica never got."""
    async with serving(postgres, postgres_template) as primary:
        urls = await migrated(primary, tmp_path)
        async with copying(primary) as replica:
            both = urls.app.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{replica.port}/")
            copy = replica.urls(urls.database)
            environ = environ_of(copy, tmp_path, POSTGRES_URL=both, POSTGRES_REPLICA_URL=copy.app)
            if is_synchronous:
                await asyncio.to_thread(primary.set, "synchronous_standby_names", STANDBY)
            async with shipping(tmp_path / "spool", environ, processes=PROCESSES, rate=RATE) as shippers:
                await shippers.more(2 * RATE)
                if not is_synchronous:
                    await asyncio.to_thread(replica.set, "primary_conninfo", "")
                    await shippers.more(2 * RATE)
                    lost = await count_of(urls) - await count_of(copy)
                    assert lost > RATE
                await asyncio.to_thread(primary.kill)
                await shippers.more(RATE)
                await asyncio.to_thread(replica.promote)
                await shippers.more(RATE)
                await shippers.stop()
            assert await faults_of(copy, shippers, tmp_path) == []


async def count_of(urls: Urls) -> int:
    async with connected(urls.superuser) as database:
        return int(await database.fetchval("select count(*) from ai_usage_logs"))


def rows(count: int) -> list[UsageRecord]:
    return [row(SystemClock().now_us()) for _ in range(count)]


async def test_a_commit_that_nobody_heard_of_is_counted_once(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path
) -> None:
    """It waits for a standby that never comes, longer than the statement may take; the rows are there all the same."""
    async with serving(postgres, postgres_template) as server:
        urls = await migrated(server, tmp_path)
        engine = open_main(settings_of(environ_of(urls, tmp_path)), statement_s=0.5)
        store = SqlUsageStore(engine, SystemClock())
        batch = rows(500)
        await store.insert(batch[:100])
        await asyncio.to_thread(server.set, "synchronous_standby_names", STANDBY)

        with pytest.raises(StoreUnavailable):
            await store.insert(batch)

        await asyncio.to_thread(server.set, "synchronous_standby_names", "")
        assert await store.absent([each.id for each in batch]) == []
        assert await store.insert(batch) == 0
        assert (await store.totals()).requests == len(batch)
        assert await store.differences(0) == []
        await engine.dispose()


async def test_reads_are_the_replica_s_while_it_has_all_and_the_primary_s_else(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path
) -> None:
    """Whose they are shows by the number of statements that the replica has seen."""
    async with serving(postgres, postgres_template) as primary:
        urls = await migrated(primary, tmp_path)
        async with copying(primary) as replica:
            copy = replica.urls(urls.database)
            settings = settings_of(environ_of(urls, tmp_path, POSTGRES_REPLICA_URL=copy.app))
            engines = open_main(settings), open_replica(settings)
            store = SqlUsageStore(engines[0], SystemClock(), replica=engines[1])
            count, waits_s = 0, []
            for _ in range(20):
                count += await store.insert(rows(100))
                began_s = time.monotonic()
                assert await told(store) == count
                waits_s.append(time.monotonic() - began_s)
            print(f"median read behind its write {sorted(waits_s)[10] * 1000:.0f} ms")  # noqa: T201 - a figure
            await asyncio.to_thread(replica.sql, "select pg_wal_replay_pause()")
            count += await store.insert(rows(100))
            assert await store.unreplicated([(await newest(store)).id]) != []
            assert await told(store) == count
            await asyncio.to_thread(replica.sql, "select pg_wal_replay_resume()")
            await asyncio.to_thread(primary.freeze)
            began_s = time.monotonic()
            assert await told(store) == count
            assert time.monotonic() - began_s < 2.5
            began_s = time.monotonic()
            assert (await newest(store)).tenant_id == "one"
            assert (await store.totals()).requests == count
            assert time.monotonic() - began_s < 1
            await asyncio.to_thread(primary.thaw)
            await asyncio.sleep(2)
            assert await told(store) == count
            await asyncio.to_thread(replica.stop_immediate)
            began_s = time.monotonic()
            assert await told(store) == count
            assert time.monotonic() - began_s < 1.5
            for engine in engines:
                assert engine is not None
                await engine.dispose()


async def told(store: SqlUsageStore) -> int:
    return sum(group.requests for group in await store.series(tenant_id="one", **SPAN))


async def newest(store: SqlUsageStore) -> UsageRecord:
    [found] = await store.page(tenant_id="one", api_key_id=None, cursor=None, limit=1)
    return found
