"""Whatever befalls the server: a transaction ends within some seconds, as unavailable and nothing else."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings, StoreSettings
from aiservice.stores.databases import open_main, open_replica, transaction
from aiservice.stores.postgres import urls_by_host
from tests.faults.proxy import Proxy
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import APP, PostgresServer

# What a silent server may hold up a transaction for: connecting, or a statement of half a second and one more.
STATEMENT_S = 0.5
SILENT_S = 4.0
POOL_SIZE = 3

stores = pytest.mark.stores


@pytest.fixture
def server(postgres: PostgresBinaries, postgres_template: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, which it may ill-treat."""
    with PostgresServer.start(postgres, template=postgres_template) as server:
        yield server


Open = Callable[..., AsyncEngine]


@pytest.fixture
async def opened(stack: AsyncExitStack) -> Open:
    """Opens the database at an address as a worker does, with a short deadline."""

    def opened(url: str, *, statement_s: float = STATEMENT_S) -> AsyncEngine:
        settings = Settings(stores=StoreSettings(postgres_url=url, postgres_pool_size=POOL_SIZE))
        engine = open_main(settings, statement_s=statement_s)
        stack.push_async_callback(engine.dispose)
        return engine

    return opened


async def say(engine: AsyncEngine, statement: str = "select pg_backend_pid()") -> object:
    async with transaction(engine, purpose="keys") as connection:
        found = await connection.execute(sa.text(statement))
        return found.scalar() if found.returns_rows else None


async def fill_pool(engine: AsyncEngine) -> None:
    """Opens every connection that the pool may have."""
    await asyncio.gather(*(say(engine, "select pg_sleep(0.1)") for _ in range(POOL_SIZE)))


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


async def unavailable(engine: AsyncEngine, statement: str = "select 1", *, within_s: float = SILENT_S) -> str:
    """What the log hears of it."""
    async with within(within_s):
        with pytest.raises(StoreUnavailable) as caught:
            await say(engine, statement)
    assert caught.value.retry_after_s is not None
    return caught.value.detail or ""


async def back_again(engine: AsyncEngine, *, within_s: float = 8.0) -> None:
    """Until a transaction succeeds; every one before says that the database is away."""
    started = time.monotonic()
    while True:
        with suppress(StoreUnavailable):
            await say(engine)
            return
        assert time.monotonic() - started < within_s
        await asyncio.sleep(0.05)


async def test_a_server_that_refuses_is_unavailable_at_once(opened: Open):
    engine = opened("postgresql://u:p@127.0.0.1:1/x")

    assert "ConnectionRefusedError" in await unavailable(engine, within_s=1.5)


@stores
async def test_a_server_that_says_nothing_is_unavailable(opened: Open):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = opened(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/x")

        await unavailable(engine)


async def test_a_name_that_nobody_knows_is_unavailable(opened: Open):
    await unavailable(opened("postgresql://u:p@nowhere.invalid:5432/x"))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@a:1,b:2/x?sslmode=require", ["u:p@a:1", "u:p@b:2"]),
        ("postgresql://u:p%2Cq@a/x", ["u:p%2Cq@a"]),
        ("postgresql://a,[::1]:5/x", ["a", "[::1]:5"]),
    ],
)
def test_an_address_is_one_for_each_of_its_hosts(url: str, hosts: list[str]):
    head, tail = url.partition("//")[0] + "//", url.partition("/x")[2]

    assert list(urls_by_host(url)) == [f"{head}{host}/x{tail}" for host in hosts]


@stores
async def test_a_wrong_password_is_unavailable(server: PostgresServer, opened: Open):
    url = server.url(APP).replace("kept-by-the-tests", "another")

    assert "password authentication failed" in await unavailable(opened(url))


@stores
async def test_a_line_that_ends_while_it_is_made_ready_is_unavailable(postgres_server: PostgresServer, opened: Open):
    engine = opened(postgres_server.url(APP))

    def hang_up(_connection: object, _record: object) -> None:
        raise asyncpg.InterfaceError("connection is closed")

    sa.event.listen(engine.sync_engine, "connect", hang_up)
    with pytest.raises(StoreUnavailable, match="connection is closed"):
        async with transaction(engine, purpose="keys"):
            raise AssertionError("not reached")


@stores
async def test_a_frozen_server_holds_up_nobody_for_long_and_is_used_again(server: PostgresServer, opened: Open):
    engine = opened(server.url(APP))
    await fill_pool(engine)
    server.freeze()
    try:
        async with within(SILENT_S * 2):
            found = await asyncio.gather(*(say(engine) for _ in range(3 * POOL_SIZE)), return_exceptions=True)
        assert {type(error) for error in found} == {StoreUnavailable}
    finally:
        server.thaw()

    await back_again(engine)
    await fill_pool(engine)


@stores
async def test_an_engine_over_a_frozen_server_is_closed_at_once(server: PostgresServer, opened: Open):
    engine = opened(server.url(APP))
    await fill_pool(engine)
    server.freeze()
    try:
        async with within(1):
            await engine.dispose()
    finally:
        server.thaw()


@stores
async def test_who_waits_while_the_server_freezes_waits_no_longer_than_for_a_statement(
    server: PostgresServer, opened: Open
):
    engine = opened(server.url(APP))
    await fill_pool(engine)
    waiting = asyncio.create_task(unavailable(engine, "select pg_sleep(0.4)"))
    await asyncio.sleep(0.1)
    server.freeze()
    try:
        await waiting
    finally:
        server.thaw()


@stores
@pytest.mark.parametrize("how", ["kill", "stop_immediate"])
async def test_a_server_that_dies_in_the_middle_is_unavailable_and_used_when_it_is_back(
    server: PostgresServer, opened: Open, how: str
):
    engine = opened(server.url(APP), statement_s=5.0)
    await fill_pool(engine)
    waiting = [asyncio.create_task(unavailable(engine, "select pg_sleep(4)")) for _ in range(POOL_SIZE)]
    await asyncio.sleep(0.2)

    await asyncio.to_thread(getattr(server, how))
    await asyncio.gather(*waiting)
    await unavailable(engine)
    await asyncio.to_thread(server.start_again)

    await back_again(engine)


@stores
async def test_a_restart_between_two_transactions_is_not_noticed(server: PostgresServer, opened: Open):
    """Every connection of the pool is dead, and none of them is used to find that out."""
    engine = opened(server.url(APP))
    await fill_pool(engine)

    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start_again)

    await asyncio.gather(*(say(engine) for _ in range(POOL_SIZE)))


@stores
async def test_a_line_that_swallows_everything_holds_up_nobody_for_long(server: PostgresServer, opened: Open):
    async with Proxy(server.port) as proxy:
        engine = opened(server.url(APP).replace(str(server.port), str(proxy.port)))
        await fill_pool(engine)
        await proxy.half_open()
        await unavailable(engine)
        await unavailable(engine)

        await proxy.heal()
        await back_again(engine)


@stores
async def test_a_pool_that_is_used_up_is_unavailable_after_two_seconds(server: PostgresServer, opened: Open):
    engine = opened(server.url(APP), statement_s=9.0)
    async with AsyncExitStack() as held:
        for _ in range(POOL_SIZE):
            await held.enter_async_context(transaction(engine, purpose="keys"))

        assert "TimeoutError" in await unavailable(engine)

    await fill_pool(engine)


@stores
async def test_a_server_without_room_for_another_connection_is_unavailable(server: PostgresServer, opened: Open):
    server.sql(f"alter role {APP} connection limit 0")

    assert "too many connections" in await unavailable(opened(server.url(APP)))


@stores
async def test_a_statement_that_takes_too_long_ends_and_its_connection_is_kept(server: PostgresServer, opened: Open):
    engine = opened(server.url(APP))
    before = await say(engine)

    assert "statement timeout" in await unavailable(engine, "select pg_sleep(9)", within_s=STATEMENT_S + 0.9)

    assert await say(engine) == before


@stores
async def test_who_waits_for_a_lock_does_not_wait_for_ever(server: PostgresServer, opened: Open):
    engine = opened(server.url(APP), statement_s=1.0)
    lock = "select pg_advisory_xact_lock(7)"
    async with transaction(engine, purpose="keys") as holder:
        await holder.execute(sa.text(lock))

        await unavailable(engine, lock)

    await say(engine, lock)


@stores
async def test_a_commit_that_waits_for_a_standby_that_is_not_there_is_not_believed(
    server: PostgresServer, opened: Open
):
    """PostgreSQL would say of a commit whose wait was cut short that it is one."""
    server.sql(f"create table kept (id integer); grant insert, select on kept to {APP}")
    server.sql(f"alter role {APP} set synchronous_commit = on")
    server.set("synchronous_standby_names", "nobody")
    engine = opened(server.url(APP))
    await back_again(engine)

    await unavailable(engine, "insert into kept values (1)")

    server.set("synchronous_standby_names", "")
    await say(engine, "insert into kept values (2)")


@stores
@pytest.mark.parametrize(
    "state",
    [
        "53100",
        "53200",
        "53300",
        "53400",
        "40001",
        "40P01",
        "55P03",
        "57014",
        "58030",
        "XX000",
        "42501",
        "42P01",
        "25006",
    ],
)
async def test_what_has_nothing_to_do_with_values_is_unavailable(
    postgres_server: PostgresServer, opened: Open, state: str
):
    """The SQLSTATEs of a full disk, no memory, a deadlock, a standby, and so on."""
    engine = opened(postgres_server.url(APP))

    await unavailable(engine, f"do $$ begin raise exception using errcode = '{state}'; end $$")

    assert await say(engine, "select 1") == 1


@stores
@pytest.mark.parametrize("state", ["22001", "22003", "22021", "22P05", "23502", "23505", "23514"])
async def test_what_is_wrong_with_a_value_is_no_fault_of_the_database(
    postgres_server: PostgresServer, opened: Open, state: str
):
    engine = opened(postgres_server.url(APP))

    with pytest.raises(sa.exc.DBAPIError):
        await say(engine, f"do $$ begin raise exception using errcode = '{state}'; end $$")


@stores
@pytest.mark.parametrize("value", [1 << 70, "\ud800", object()])
async def test_a_value_that_the_driver_refuses_is_no_fault_of_the_database(
    postgres_server: PostgresServer, opened: Open, value: object
):
    engine = opened(postgres_server.url(APP))
    statement = sa.text("select cast(:value as bigint) + length(cast(:value as text)) / 0")

    with pytest.raises(sa.exc.DBAPIError):
        async with transaction(engine, purpose="keys") as connection:
            await connection.execute(statement, {"value": value})


@stores
async def test_a_server_that_takes_no_writes_any_more_is_left(server: PostgresServer, opened: Open):
    server.sql(f"create table kept (id integer); grant insert on kept to {APP}")
    engine = opened(server.url(APP))
    before = await say(engine)
    server.set("default_transaction_read_only", "on")
    await asyncio.sleep(0.2)

    assert "read-only" in await unavailable(engine, "insert into kept values (1)")
    assert "takes no writes" in await unavailable(engine)

    server.set("default_transaction_read_only", "off")
    await back_again(engine)
    assert await say(engine) != before


@stores
async def test_nothing_of_a_transaction_stays_with_its_connection(postgres_server: PostgresServer, opened: Open):
    engine = opened(postgres_server.url(APP))
    names = ("app.tenant_id", "app.purpose", "statement_timeout", "idle_in_transaction_session_timeout")
    shown = "select " + " || '|' || ".join(f"coalesce(current_setting('{name}', true), '')" for name in names)
    async with transaction(engine, tenant_id="acme") as connection:
        assert (await connection.execute(sa.text(shown))).scalar() == "acme||500ms|10s"

    async with engine.begin() as connection:
        assert (await connection.execute(sa.text(shown))).scalar() == "||0|0"


@stores
@pytest.mark.parametrize("seed", range(3))
async def test_those_who_are_cut_off_leave_nothing_behind(
    postgres_server: PostgresServer, opened: Open, seed: int, caplog: pytest.LogCaptureFixture
):
    """At any moment: while waiting for a connection, connecting, beginning, asking, committing, closing."""
    engine, chance = opened(postgres_server.url(APP), statement_s=2.0), random.Random(seed)

    async def work(tenant_id: str) -> None:
        async with transaction(engine, tenant_id=tenant_id) as connection:
            for _ in range(2):
                found = await connection.execute(sa.text("select current_setting('app.tenant_id')"))
                assert found.scalar() == tenant_id

    for _ in range(12):
        tasks = [asyncio.create_task(work(f"t{number}")) for number in range(12)]
        for task in tasks:
            asyncio.get_running_loop().call_later(chance.random() * 0.02, task.cancel)
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert error is None or isinstance(error, asyncio.CancelledError), repr(error)

    await fill_pool(engine)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert engine.pool.checkedin() <= POOL_SIZE  # type: ignore[attr-defined]
    await asyncio.sleep(1)
    mine = f"select count(*) from pg_stat_activity where application_name = 'aiservice' and usename = '{APP}'"
    assert int(postgres_server.sql(mine)) <= POOL_SIZE
    assert "never retrieved" not in caplog.text


@stores
async def test_after_a_promotion_the_new_primary_is_found(server: PostgresServer, opened: Open):
    server.sql(f"create table kept (id integer); grant insert, select on kept to {APP}")
    with await asyncio.to_thread(server.replica) as standby:
        both = server.url(APP).replace(f"127.0.0.1:{server.port}", f"127.0.0.1:{standby.port},127.0.0.1:{server.port}")
        engine = opened(both)
        # The standby stands first, and takes no writes.
        await asyncio.gather(*(say(engine, "insert into kept values (1)") for _ in range(POOL_SIZE)))

        await asyncio.to_thread(server.kill)
        await unavailable(engine)
        await asyncio.to_thread(standby.promote)

        await back_again(engine)
        await say(engine, "insert into kept values (2)")
        assert await say(engine, "select inet_server_port()") == standby.port


@stores
async def test_a_primary_that_became_a_standby_is_left_for_the_one_that_is(server: PostgresServer, opened: Open):
    """Its connections are open still, and only say no."""
    server.sql(f"create table kept (id integer); grant insert, select on kept to {APP}")
    with await asyncio.to_thread(server.replica) as standby:
        engine = opened(f"{server.url(APP)}".replace("/postgres", f",127.0.0.1:{standby.port}/postgres"))
        await fill_pool(engine)
        await asyncio.to_thread(standby.promote)
        server.set("default_transaction_read_only", "on")
        await asyncio.sleep(0.2)

        await unavailable(engine, "insert into kept values (1)")

        await say(engine, "insert into kept values (2)")
        assert await say(engine, "select inet_server_port()") == standby.port


@stores
async def test_a_standby_can_be_read_and_is_no_place_to_write(server: PostgresServer, stack: AsyncExitStack):
    server.sql(f"create table kept (id integer); grant insert, select on kept to {APP}")
    with await asyncio.to_thread(server.replica) as standby:
        settings = Settings(stores=StoreSettings(postgres_replica_url=standby.url(APP)))
        replica = open_replica(settings)
        assert replica is not None
        stack.push_async_callback(replica.dispose)

        assert await say(replica, "select count(*) from kept") == 0
        assert "read-only" in await unavailable(replica, "insert into kept values (1)")


def test_without_a_standby_there_is_no_replica():
    assert open_replica(Settings()) is None
