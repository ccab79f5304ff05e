"""Row level security alone: raw statements without a tenant in them, which must not touch a row of another one."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings
from aiservice.stores.databases import open_main, transaction
from aiservice.stores.tables import metadata
from tests.unit.stores.conftest import Sql

pytestmark = pytest.mark.stores

TENANTS = ("acme", "beta", "gamma")
# So many rows of each table has each tenant; their month is the last one that is made ahead, or none at all.
ROWS_EACH = 3
NAMES = sorted(metadata.tables)
TENANT_TABLES = [name for name in NAMES if "tenant_id" in metadata.tables[name].columns]
OTHER_TABLES = [name for name in NAMES if name not in TENANT_TABLES]
DEFAULT = "ai_usage_logs_default"
OPERATIONS = 3_000
AT_ONCE = 8


@dataclass
class Found:
    """What has happened: operations by kind, and rows of another tenant that were seen or would have been changed."""

    counts: dict[str, int]
    foreign: int = 0


class Undone(Exception):
    """Ends a transaction without its changes."""


@pytest.fixture
def filled(postgres_settings: Settings, sql: Sql) -> Sequence[str]:
    """Every table with rows of every tenant; the names of all of them, and of the ledger's partitions."""
    rows = [insertion(table, tenant, n) for table in NAMES for tenant in TENANTS for n in range(ROWS_EACH)]
    sql("; ".join(rows))
    parts = sql("select inhrelid::regclass from pg_inherits where inhparent = 'ai_usage_logs'::regclass")
    filled = [name for (name,) in parts if sql(f"select count(*) from {name}") != [["0"]]]
    assert len(filled) == 2
    return [*NAMES, *filled]


def insertion(table: str, tenant: str, number: int) -> str:
    """Any row, with a key of its own; every second one of the ledger is of a month long ago."""
    unique = f"{TENANTS.index(tenant)}{number}"
    values = {
        sa.Boolean: "false",
        sa.JSON: "'{}'",
        sa.LargeBinary: r"'\x61'",
        sa.SmallInteger: unique,
        sa.Integer: "1",
        sa.Uuid: f"'01977a2b-0000-7000-8000-0000000000{unique}'",
        sa.String: f"'{unique}'",
    }
    moments = ("now()", "'2001-01-01 00:00:00+00'")
    row = {
        column.name: next(
            (value for kind, value in values.items() if isinstance(column.type, kind)), moments[number % 2]
        )
        for column in metadata.tables[table].columns
        if column.autoincrement is not True
    }
    if "tenant_id" in row:
        row["tenant_id"] = f"'{tenant}'"
    return f"insert into {table} ({', '.join(row)}) values ({', '.join(row.values())})"


@pytest.fixture(params=["application", "owner"])
async def worker(
    request: pytest.FixtureRequest, postgres_settings: Settings, stack: AsyncExitStack
) -> AsyncIterator[AsyncEngine]:
    """A worker's engine; where POSTGRES_URL stands alone, its role is the one that owns the tables."""
    stores = postgres_settings.stores
    if request.param == "owner":
        stores = stores.model_copy(update={"postgres_url": stores.postgres_owner_url})
    engine = open_main(postgres_settings.model_copy(update={"stores": stores}))
    stack.push_async_callback(engine.dispose)
    yield engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def foreign_rows(connection: AsyncConnection, table: str, tenant: str) -> int:
    """How many rows of others a look at all of them shows."""
    rows = (await connection.execute(sa.text(f"select * from {table}"))).mappings().all()
    own = [row for row in rows if row.get("tenant_id") == tenant]
    if table in TENANT_TABLES:
        assert len(own) == ROWS_EACH
    return len(rows) - len(own)


async def excess(connection: AsyncConnection, statement: str) -> int:
    """How many rows more than a tenant has a change without a condition would change."""
    count = (await connection.execute(sa.text(statement))).rowcount
    return max(0, count - ROWS_EACH)


async def select(connection: AsyncConnection, table: str, tenant: str) -> int:
    return await foreign_rows(connection, table, tenant)


async def count(connection: AsyncConnection, table: str, tenant: str) -> int:
    found = (await connection.execute(sa.text(f"select count(*) from {table}"))).scalar_one()
    return max(0, int(found) - (ROWS_EACH if "tenant_id" in columns_of(table) else 0))


async def join(connection: AsyncConnection, table: str, tenant: str) -> int:
    """Through another table that shows rows of its own."""
    statement = f"select count(*) from {table} as one, ai_api_keys as other where other.tenant_id <> '{tenant}'"
    return int((await connection.execute(sa.text(statement))).scalar_one())


async def update(connection: AsyncConnection, table: str, tenant: str) -> int:
    column = next(iter(columns_of(table)))
    return await excess(connection, f"update {table} set {column} = {column}")


async def delete(connection: AsyncConnection, table: str, tenant: str) -> int:
    return await excess(connection, f"delete from {table}")


async def give_away(connection: AsyncConnection, table: str, tenant: str) -> int:
    """Own rows that would belong to another tenant: one too many."""
    if "tenant_id" not in columns_of(table):
        return 0
    other = TENANTS[TENANTS.index(tenant) - 1]
    return int((await connection.execute(sa.text(f"update {table} set tenant_id = '{other}'"))).rowcount)


async def insert(connection: AsyncConnection, table: str, tenant: str) -> int:
    """A row in another tenant's name."""
    name = "ai_usage_logs" if table.startswith("ai_usage_logs") else table
    if "tenant_id" not in columns_of(name):
        return 0
    statement = insertion(name, TENANTS[TENANTS.index(tenant) - 1], 9).replace(f"into {name} ", f"into {table} ")
    return int((await connection.execute(sa.text(statement))).rowcount)


async def fail(connection: AsyncConnection, table: str, tenant: str) -> int:
    """An error of the database, after which the connection goes back into the pool."""
    await connection.execute(sa.text("select 1 / (select count(*) - count(*) from ai_api_keys)"))
    return 1


Operation = Callable[[AsyncConnection, str, str], Awaitable[int]]
KINDS: Sequence[Operation] = (select, count, join, update, delete, give_away, insert, fail)


def columns_of(table: str) -> Sequence[str]:
    name = "ai_usage_logs" if table.startswith("ai_usage_logs") else table
    return metadata.tables[name].columns.keys()


async def operate(worker: AsyncEngine, tables: Sequence[str], found: Found, chance: random.Random) -> None:
    """One operation of one tenant; what it changes is undone. An error of a right or a policy is no foreign row."""
    tenant, table, kind = chance.choice(TENANTS), chance.choice(tables), chance.choice(KINDS)
    found.counts[kind.__name__] = found.counts.get(kind.__name__, 0) + 1
    # Also those who are cut off in the middle must leave nothing behind for the next one.
    patience_s = 0.001 if chance.random() < 0.02 else 30.0
    with suppress(StoreUnavailable, Undone, sa.exc.DBAPIError, TimeoutError):
        async with asyncio.timeout(patience_s), transaction(worker, tenant_id=tenant) as connection:
            found.foreign += await kind(connection, table, tenant)
            raise Undone


async def test_no_operation_touches_a_row_of_another_tenant(worker: AsyncEngine, filled: Sequence[str], sql: Sql):
    await prove(worker, filled, sql, operations=OPERATIONS)


async def test_the_proof_would_find_a_table_that_is_open(worker: AsyncEngine, filled: Sequence[str], sql: Sql):
    sql("alter table ai_limits disable row level security")

    found = await operated(worker, filled, operations=400)

    assert found.foreign > 0


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_no_operation_of_a_hundred_thousand_does(worker: AsyncEngine, filled: Sequence[str], sql: Sql):
    await prove(worker, filled, sql, operations=100_000 if os.environ.get("LONG") else 20_000)


async def prove(worker: AsyncEngine, filled: Sequence[str], sql: Sql, *, operations: int) -> None:
    before = {table: sorted(sql(f"select * from {table}")) for table in NAMES}

    found = await operated(worker, filled, operations=operations)

    assert found.foreign == 0
    assert sum(found.counts.values()) == operations
    assert set(found.counts) == {kind.__name__ for kind in KINDS}
    assert {table: sorted(sql(f"select * from {table}")) for table in NAMES} == before


async def operated(worker: AsyncEngine, filled: Sequence[str], *, operations: int) -> Found:
    found = Found({})

    async def go_on(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(operations // AT_ONCE):
            await operate(worker, filled, found, chance)

    await asyncio.gather(*(go_on(seed) for seed in range(AT_ONCE)))
    return found


async def seen(engine: AsyncEngine, table: str, **settings: str) -> int:
    """Rows that a transaction with these settings counts; -1 where its role may not look."""
    try:
        async with engine.begin() as connection:
            for name, value in settings.items():
                await connection.execute(
                    sa.text("select set_config('app.' || :name, :value, true)"), {"name": name, "value": value}
                )
            return int((await connection.execute(sa.text(f"select count(*) from {table}"))).scalar_one())
    except sa.exc.ProgrammingError:
        return -1


async def test_without_a_setting_there_are_no_rows(worker: AsyncEngine, filled: Sequence[str]):
    assert {await seen(worker, table) for table in filled} <= {0, -1}
    assert {await seen(worker, table, tenant_id="") for table in filled} <= {0, -1}
    assert {await seen(worker, table, tenant_id="nobody", purpose="nothing") for table in filled} <= {0, -1}


async def test_a_partition_shows_no_more_than_the_whole(worker: AsyncEngine, filled: Sequence[str]):
    parts = [table for table in filled if table not in NAMES]
    counts = [await seen(worker, table, tenant_id="acme") for table in parts]

    # Who is not the owner may not name a partition at all.
    assert counts == [-1, -1] or sum(counts) == ROWS_EACH
    assert await seen(worker, "ai_usage_logs", tenant_id="acme") == ROWS_EACH


async def test_no_setting_outlives_its_transaction(worker: AsyncEngine, filled: Sequence[str]):
    """After a commit, a rollback, an error of the database and one that is cut off."""
    for how in ("commit", "rollback", "error", "cut"):
        with suppress(Undone, sa.exc.DBAPIError, StoreUnavailable, TimeoutError):
            async with (
                asyncio.timeout(0.2 if how == "cut" else 30),
                transaction(worker, tenant_id="acme") as connection,
            ):
                assert await foreign_rows(connection, "ai_api_keys", "acme") == 0
                if how == "rollback":
                    raise Undone
                if how == "error":
                    await fail(connection, "", "")
                if how == "cut":
                    await connection.execute(sa.text("select pg_sleep(30)"))
        for _ in range(worker.pool.size()):  # type: ignore[attr-defined]
            assert await seen(worker, "ai_api_keys") == 0, how


async def test_a_purpose_shows_what_it_is_for_and_no_more(owner: AsyncEngine, filled: Sequence[str], sql: Sql):
    every = ROWS_EACH * len(TENANTS)
    sql("update ai_responses set status = 'in_progress' where tenant_id = 'acme'")
    sql("update idempotency_keys set expires_at = now() + interval '1 day' where tenant_id = 'beta'")
    sql("update ai_responses set expires_at = now() + interval '1 day' where tenant_id = 'beta'")
    shown = {
        "keys": {"ai_api_keys": every, "auth_events": every},
        "ledger": dict.fromkeys(("ai_usage_logs", "ai_usage_rollups", "ai_usage_totals", "usage_dead_letters"), every),
        "limits": {"ai_limits": every},
        "sweep": {"idempotency_keys": every - ROWS_EACH, "ai_responses": every - ROWS_EACH},
        "leases": {"ai_responses": ROWS_EACH},
        "cache": {"ai_cache": every},
    }

    for purpose, wanted in shown.items():
        counts = {table: await seen(owner, table, purpose=purpose) for table in NAMES}
        assert {table: count for table, count in counts.items() if count} == wanted, purpose


async def test_the_sweep_may_delete_and_change_nothing(owner: AsyncEngine, filled: Sequence[str]):
    with suppress(Undone):
        async with transaction(owner, purpose="sweep") as connection:
            changed = await connection.execute(sa.text("update ai_responses set status = 'failed'"))
            deleted = await connection.execute(sa.text("delete from ai_responses"))
            raise Undone
    assert changed.rowcount == 0
    assert deleted.rowcount > 0


async def test_what_was_written_once_is_neither_changed_nor_deleted_by_the_application(
    engine: AsyncEngine, filled: Sequence[str]
):
    for table in ("audit_log", "ai_usage_logs", "auth_events", "usage_dead_letters"):
        for statement in (f"delete from {table}", f"update {table} set created_at = created_at", f"truncate {table}"):
            with pytest.raises(StoreUnavailable, match="permission denied"):
                async with transaction(engine, purpose="ledger") as connection:
                    await connection.execute(sa.text(statement))


async def test_every_table_is_forced_under_its_policies(filled: Sequence[str], sql: Sql):
    loose = sql(
        "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace "
        "and not (relrowsecurity and relforcerowsecurity)"
    )
    policies = {name for (name,) in sql("select distinct tablename from pg_policies")}

    assert loose == [["alembic_version"]]
    assert set(filled) <= policies


def test_an_index_serves_a_tenant_s_page(postgres_settings: Settings, sql: Sql):
    """The policies must not turn a look by index into one at all rows."""
    sql(
        "insert into ai_usage_logs select gen_random_uuid(), gen_random_uuid(), 't' || n % 50, null, '/e', 1, 1, 2, 0, "
        "0, 'm', false, 1, 200, null, now() from generate_series(1, 20000) as n"
    )
    sql("analyze ai_usage_logs")
    role = (postgres_settings.stores.postgres_url or "").partition("//")[2].partition(":")[0]
    plan = sql(
        f"set role {role}; select set_config('app.tenant_id', 't7', false); "
        "explain select * from ai_usage_logs where tenant_id = 't7' order by id desc limit 20"
    )

    lines = [line for (line,) in plan if "ai_usage_logs_2" in line]
    # The months ahead are empty, and read as such.
    assert any("tenant_id_id_idx" in line for line in lines), plan
    assert not any("Seq Scan" in line and f"{datetime.now(UTC):%Y_%m}" in line for line in lines), plan
