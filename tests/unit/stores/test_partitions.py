"""Months of the ledger: made ahead, made late, made once."""

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings
from aiservice.stores.databases import open_main, open_owner, transaction
from aiservice.stores.partitions import MONTHS_BACK, Partitions
from tests.unit.stores.conftest import Sql

pytestmark = pytest.mark.stores

# The date of the tables that the migration made is the server's own.
NOW = datetime.now(UTC).replace(day=15, hour=12, minute=0, second=0, microsecond=0)
PARTS = "select inhrelid::regclass from pg_inherits where inhparent = 'ai_usage_logs'::regclass"


def month_after(number: int) -> datetime:
    count = NOW.year * 12 + NOW.month - 1 + number
    return NOW.replace(year=count // 12, month=count % 12 + 1)


def name_of(month: datetime) -> str:
    return f"ai_usage_logs_{month:%Y_%m}"


def clock_at(moment: datetime) -> ManualClock:
    return ManualClock(int(moment.timestamp()) * 1_000_000)


def parts(sql: Sql) -> set[str]:
    return {name for (name,) in sql(PARTS)}


async def insert(engine: AsyncEngine, *moments: datetime, tenant: str = "acme") -> None:
    """Rows of these moments, as the ledger inserts them."""
    statement = (
        "insert into ai_usage_logs select gen_random_uuid(), gen_random_uuid(), :tenant, null, '/e', 1, 1, 2, 0, 0, "
        "'m', false, 1, 200, null, :moment"
    )
    async with transaction(engine, purpose="ledger") as connection:
        for moment in moments:
            await connection.execute(sa.text(statement), {"tenant": tenant, "moment": moment})


async def test_this_month_and_three_more_are_made(owner: AsyncEngine, sql: Sql):
    before = parts(sql)
    await Partitions(owner, clock_at(NOW)).tend()
    assert parts(sql) == before

    await Partitions(owner, clock_at(month_after(2))).tend()

    assert parts(sql) - before == {name_of(month_after(number)) for number in (4, 5)}


@pytest.mark.parametrize("day", [datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)])
async def test_months_go_over_the_end_of_a_year(owner: AsyncEngine, engine: AsyncEngine, sql: Sql, day: datetime):
    await Partitions(owner, clock_at(day)).tend()

    await insert(engine, day, day + timedelta(days=60))
    assert sql(f"select count(*) from {name_of(day)}") == [["1"]]
    assert sql("select count(*) from ai_usage_logs_default") == [["0"]]


async def test_rows_of_a_month_that_comes_late_are_moved(owner: AsyncEngine, engine: AsyncEngine, sql: Sql):
    first = month_after(-2).replace(day=1, hour=0)
    moments = [first, first + timedelta(days=27), month_after(4), month_after(4)]
    await insert(engine, *moments)
    rows = sorted(sql("select * from ai_usage_logs"))
    assert sql("select count(*) from ai_usage_logs_default") == [["4"]]
    partitions = Partitions(owner, clock_at(month_after(1)))

    await partitions.tend()

    assert sorted(sql("select * from ai_usage_logs")) == rows
    assert sql("select count(*) from ai_usage_logs_default") == [["0"]]
    assert sql(f"select count(*) from {name_of(first)}") == [["2"]]
    assert sql(f"select count(*) from {name_of(month_after(4))}") == [["2"]]
    assert partitions.strays == 0


async def test_rows_of_no_month_that_may_be_are_counted_and_warned_of(
    owner: AsyncEngine, engine: AsyncEngine, sql: Sql, caplog: pytest.LogCaptureFixture
):
    """A clock that was wrong makes no table of its own for every month that it showed."""
    await insert(engine, datetime(1970, 1, 1, tzinfo=UTC), month_after(-MONTHS_BACK - 1), month_after(40))
    before, partitions = parts(sql), Partitions(owner, clock_at(NOW))

    with caplog.at_level(logging.WARNING, "aiservice"):
        await partitions.tend()

    assert parts(sql) == before
    assert partitions.strays == 3
    assert "3 rows of the ledger are in no month" in caplog.text


async def test_many_who_tend_at_once_make_each_month_once(
    postgres_settings: Settings, stack: AsyncExitStack, sql: Sql, caplog: pytest.LogCaptureFixture
):
    """Those who come second leave it to the first."""
    engines = [open_owner(postgres_settings) for _ in range(6)]
    for engine in engines:
        stack.push_async_callback(engine.dispose)

    with caplog.at_level(logging.INFO, "aiservice"):
        for _ in range(2):
            await asyncio.gather(*(Partitions(engine, clock_at(month_after(3))).tend() for engine in engines))

    made = [name_of(month_after(number)) for number in (4, 5, 6)]
    assert set(made) <= parts(sql)
    assert caplog.text.count("the ledger has a partition for") == len(made)


async def test_a_new_month_is_under_the_same_policies(
    postgres_settings: Settings, owner: AsyncEngine, engine: AsyncEngine, stack: AsyncExitStack, sql: Sql
):
    await Partitions(owner, clock_at(month_after(3))).tend()
    name = name_of(month_after(5))
    await insert(engine, month_after(5))
    await insert(engine, month_after(5), month_after(5), tenant="beta")
    facts = "select policyname, permissive, roles, cmd, qual, with_check from pg_policies where tablename = "

    assert sql(facts + f"'{name}' order by 1") == sql(facts + "'ai_usage_logs' order by 1")
    assert sql(f"select relrowsecurity, relforcerowsecurity from pg_class where relname = '{name}'") == [["t", "t"]]
    for tenant, rows in (("acme", 1), ("beta", 2), ("gamma", 0)):
        async with transaction(owner, tenant_id=tenant) as connection:
            assert (await connection.execute(sa.text(f"select count(*) from {name}"))).scalar_one() == rows
    async with owner.begin() as connection:
        assert (await connection.execute(sa.text(f"select count(*) from {name}"))).scalar_one() == 0


async def test_a_table_that_somebody_reads_is_not_waited_for_for_ever(
    owner: AsyncEngine, engine: AsyncEngine, sql: Sql
):
    """Whoever came after that wait would wait too: so it ends, and the next hour tries again."""
    partitions = Partitions(owner, clock_at(month_after(3)))
    async with transaction(engine, purpose="ledger") as reader:
        await reader.execute(sa.text("select count(*) from ai_usage_logs"))

        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await partitions.tend()

        await insert(engine, NOW)
    await partitions.tend()
    assert name_of(month_after(6)) in parts(sql)


async def test_the_loop_goes_on_over_a_row_of_a_time_that_cannot_be(
    owner: AsyncEngine, engine: AsyncEngine, sql: Sql, caplog: pytest.LogCaptureFixture
):
    await insert(engine, datetime(1970, 1, 1, tzinfo=UTC))
    sql("update ai_usage_logs_default set created_at = '20000-01-01'")
    with caplog.at_level(logging.WARNING, "aiservice"):
        watch = asyncio.create_task(Partitions(owner, clock_at(NOW)).watch())
        async with asyncio.timeout(20):
            while "could not be looked after" not in caplog.text:
                await asyncio.sleep(0.01)
    assert not watch.done()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_the_loop_goes_on_without_its_server(stack: AsyncExitStack, caplog: pytest.LogCaptureFixture):
    settings = Settings()
    stores = settings.stores.model_copy(update={"postgres_url": "postgresql://u:p@127.0.0.1:1/x"})
    engine = open_main(settings.model_copy(update={"stores": stores}))
    stack.push_async_callback(engine.dispose)

    with caplog.at_level(logging.WARNING, "aiservice"):
        watch = asyncio.create_task(Partitions(engine, clock_at(NOW)).watch())
        while "could not be looked after" not in caplog.text:
            await asyncio.sleep(0.01)
    assert not watch.done()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
