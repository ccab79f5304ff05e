"""The main database on a PostgreSQL server from nothing to HEAD and back, by an owner for an application."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings
from aiservice.stores.databases import open_owner
from aiservice.stores.migrate import HEAD, downgrade, is_current, revision_of, upgrade
from aiservice.stores.tables import metadata
from tests.servers.fixtures import settings_of
from tests.servers.postgres_server import APP, Urls
from tests.unit.stores.conftest import Sql

pytestmark = pytest.mark.stores

T = TypeVar("T")
TABLES = "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
PARTS = "select inhrelid::regclass from pg_inherits where inhparent = 'ai_usage_logs'::regclass order by 1"
PART = re.compile(r"ai_usage_logs_(\d{4}_\d{2}|default)")


def tables(sql: Sql) -> set[str]:
    return {name for (name,) in sql(TABLES)}


def as_owner(settings: Settings, look: Callable[[sa.Connection], T]) -> T:
    """What a look at the owner's database finds."""

    async def whole() -> T:
        async with AsyncExitStack() as stack:
            engine = open_owner(settings)
            stack.push_async_callback(engine.dispose)
            async with engine.begin() as connection:
                return await connection.run_sync(look)

    return asyncio.run(whole())


def test_from_nothing_to_head_and_back(new_settings: Settings, sql: Sql):
    assert not is_current(new_settings)
    assert revision_of(new_settings) is None

    upgrade(new_settings)
    assert is_current(new_settings)
    assert revision_of(new_settings) == HEAD
    assert set(metadata.tables) <= tables(sql)

    downgrade(new_settings)
    assert not is_current(new_settings)
    assert revision_of(new_settings) is None
    assert tables(sql) == {"alembic_version"}
    assert sql("select count(*) from pg_policies") == [["0"]]

    upgrade(new_settings)
    assert is_current(new_settings)


def test_each_revision_can_be_undone_and_made_again(new_settings: Settings):
    upgrade(new_settings)
    for revision in ("0003", "0002", "0001"):
        downgrade(new_settings, revision)
        assert revision_of(new_settings) == revision
        upgrade(new_settings)
        assert is_current(new_settings)


async def test_a_start_inside_of_a_loop_can_migrate(new_settings: Settings):
    upgrade(new_settings)

    assert is_current(new_settings)


def test_head_is_what_the_tables_say(postgres_settings: Settings):
    def compare(connection: sa.Connection) -> Any:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or PART.fullmatch(name) is None,
        }
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert as_owner(postgres_settings, compare) == []


def test_every_index_and_constraint_has_the_name_that_the_tables_give_it(
    postgres_settings: Settings, new_settings: Settings
):
    as_owner(new_settings, metadata.create_all)

    def shape(connection: sa.Connection) -> dict[str, Any]:
        looked = sa.inspect(connection)
        columns = {name: [(c["name"], repr(c["type"])) for c in looked.get_columns(name)] for name in metadata.tables}
        return {
            "keys": [looked.get_pk_constraint(name) for name in metadata.tables],
            "unique": [looked.get_unique_constraints(name) for name in metadata.tables],
            "indexes": [sorted(looked.get_indexes(name), key=str) for name in metadata.tables],
            "columns": {name: sorted(found) for name, found in columns.items()},
            "partitioned": connection.execute(
                sa.text("select partrelid::regclass::text, partstrat from pg_partitioned_table")
            ).all(),
        }

    assert as_owner(postgres_settings, shape) == as_owner(new_settings, shape)


ROWS = (
    ("01977a2b-0000-7000-8000-000000000001", "2026-01-31 12:00:00+00", "m", 200),
    ("01977a2b-0000-7000-8000-000000000002", "2026-01-31 23:59:59.999999+00", "m", 200),
    ("01977a2b-0000-7000-8000-000000000003", "2026-02-01 00:00:00+00", None, 429),
    ("01977a2b-0000-7000-8000-000000000004", "2025-12-01 00:00:00+00", "m", 502),
)
SELECT_ROWS = "select id, created_at, coalesce(model_used, ''), status_code from ai_usage_logs order by id"


def insert_rows(sql: Sql) -> None:
    for id, created_at, model, status in ROWS:
        model_used = f"'{model}'" if model else "null"
        sql(
            "insert into ai_usage_logs (id, api_key_id, tenant_id, endpoint, prompt_tokens, completion_tokens, "
            "total_tokens, tokens_saved, cost_nano, model_used, response_cached, response_time_ms, status_code, "
            f"created_at) values ('{id}', '{ROWS[0][0]}', 'acme', '/e', 3, 4, 7, 0, 7, {model_used}, false, 10, "
            f"{status}, '{created_at}')"
        )


def test_rows_go_into_months_and_back(new_settings: Settings, sql: Sql):
    upgrade(new_settings, "0003")
    insert_rows(sql)
    before = sql(SELECT_ROWS)

    upgrade(new_settings)
    assert sql(SELECT_ROWS) == before
    months = {name for (name,) in sql(PARTS)}
    assert months >= {"ai_usage_logs_2025_12", "ai_usage_logs_2026_01", "ai_usage_logs_2026_02"}
    assert sql("select count(*) from ai_usage_logs_2026_01") == [["2"]]
    assert sql("select count(*) from ai_usage_logs_default") == [["0"]]

    downgrade(new_settings, "0003")
    assert sql(SELECT_ROWS) == before
    assert not any(map(PART.fullmatch, tables(sql)))


def test_this_month_three_more_and_a_default_are_there(postgres_settings: Settings, sql: Sql):
    now = sql("select to_char(now() + make_interval(months => n), 'YYYY_MM') from generate_series(0, 3) n")

    assert {name for (name,) in sql(PARTS)} == {f"ai_usage_logs_{month}" for month in [m for (m,) in now] + ["default"]}


def test_rows_that_were_there_before_the_sums_are_summed_up(new_settings: Settings, sql: Sql):
    upgrade(new_settings, "0001")
    insert_rows(sql)

    upgrade(new_settings)

    hours = sql("select hour, model_used, status_code, requests, cost_nano from ai_usage_rollups order by hour")
    assert hours == [
        ["2025-12-01 00:00:00+00", "m", "502", "1", "7"],
        ["2026-01-31 12:00:00+00", "m", "200", "1", "7"],
        ["2026-01-31 23:00:00+00", "m", "200", "1", "7"],
        ["2026-02-01 00:00:00+00", "", "429", "1", "7"],
    ]
    assert sql("select status_code, requests from ai_usage_totals order by 1") == [
        ["200", "2"],
        ["429", "1"],
        ["502", "1"],
    ]


VALUES = {
    "bigint": "1",
    "boolean": "false",
    "bytea": r"\x61",
    "character varying": "acme",
    "integer": "1",
    "json": '["a"]',
    "smallint": "1",
    "timestamp with time zone": "2026-01-31 12:00:00+00",
    "uuid": "01977a2b-0000-7000-8000-000000000001",
}


def test_what_the_version_before_writes_and_reads_has_its_place_on_head(new_settings: Settings, sql: Sql):
    """Rows of every table of a revision ago, with its columns alone, without those that came since."""
    upgrade(new_settings, "0003")
    found = sql(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'public' "
        "and table_name <> 'alembic_version' and column_default is null order by table_name, ordinal_position"
    )
    assert {table for table, _, _ in found} == set(metadata.tables) - {"ai_cache", "ai_databases"}
    upgrade(new_settings)

    for table in {table for table, _, _ in found}:
        columns = [(column, VALUES[kind]) for name, column, kind in found if name == table]
        names, values = ", ".join(name for name, _ in columns), ", ".join(f"'{value}'" for _, value in columns)
        sql(f"insert into {table} ({names}) values ({values})")
        sql(f"update {table} set {', '.join(f'{name} = {name}' for name, _ in columns)}")
        assert len(sql(f"select {names} from {table}")) == 1


def test_instances_that_upgrade_at_once_wait_for_each_other(new_settings: Settings, sql: Sql):
    """Each over a folder of its own, as on machines of their own."""
    code = "from aiservice.core.settings import load; from aiservice.stores.migrate import upgrade; upgrade(load())"
    command = [sys.executable, "-W", "error", "-c", code]
    running = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ_of(new_settings, f"instance{number}"))
        for number in range(3)
    ]

    errors = [process.communicate(timeout=60)[1] for process in running]

    assert errors == ["", "", ""]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert is_current(new_settings)
    assert sql("select version_num from alembic_version") == [[HEAD]]


def environ_of(settings: Settings, folder: str) -> dict[str, str]:
    stores = settings.stores
    urls = {"POSTGRES_URL": stores.postgres_url or "", "POSTGRES_OWNER_URL": stores.postgres_owner_url or ""}
    return {**os.environ, **urls, "ENVIRONMENT": "test", "DATA_DIR": str(settings.server.data_dir / folder)}


@pytest.mark.slow
def test_who_migrates_waits_longer_than_a_request_would(new_settings: Settings, sql: Sql):
    """Also where one role does everything: another instance may be at it for long."""
    stores = new_settings.stores.model_copy(
        update={"postgres_url": new_settings.stores.postgres_owner_url, "postgres_owner_url": None}
    )
    alone = new_settings.model_copy(update={"stores": stores})
    holder = threading.Thread(
        target=sql, args=("begin; select pg_advisory_xact_lock(4927516208311); select pg_sleep(8); commit",)
    )
    holder.start()
    time.sleep(0.5)
    started = time.monotonic()

    upgrade(alone)

    assert time.monotonic() - started > 6
    assert is_current(alone)
    holder.join()


def test_a_revision_that_fails_leaves_nothing(new_settings: Settings, sql: Sql):
    """A table in the way of a later one: those before it must not stay."""
    sql("create table ai_responses (id integer)")

    with pytest.raises(StartRefused, match=r"ai_responses.* already exists"):
        upgrade(new_settings)

    assert tables(sql) == {"ai_responses"}


def test_a_database_of_a_newer_version_is_refused(new_settings: Settings, sql: Sql):
    upgrade(new_settings)
    sql("update alembic_version set version_num = '9999'")

    assert not is_current(new_settings)
    with pytest.raises(StartRefused, match="9999"):
        upgrade(new_settings)


def test_the_folder_is_made_too(new_settings: Settings):
    """Spool and secrets stand there, whatever the database."""
    upgrade(new_settings)

    assert new_settings.server.data_dir.is_dir()


def test_an_application_that_is_not_let_in_is_let_in_by_the_next_upgrade(postgres_settings: Settings, sql: Sql):
    sql(f"revoke insert on ai_usage_logs from {APP}")
    assert not is_current(postgres_settings)

    upgrade(postgres_settings)

    assert is_current(postgres_settings)


def test_what_an_application_may_do_beyond_is_taken_back(postgres_settings: Settings, sql: Sql):
    sql(f"grant delete, truncate on audit_log to {APP}; revoke select on ai_cache from {APP}")

    upgrade(postgres_settings)

    assert sql(f"select has_table_privilege('{APP}', 'audit_log', 'delete, truncate')") == [["f"]]


def test_an_application_that_owns_its_tables_needs_no_other_role(new_settings: Settings):
    stores = new_settings.stores.model_copy(
        update={"postgres_url": new_settings.stores.postgres_owner_url, "postgres_owner_url": None}
    )
    alone = new_settings.model_copy(update={"stores": stores})

    upgrade(alone)

    assert is_current(alone)


def test_a_role_that_is_not_there_is_named(postgres_urls: Urls, tmp_path: Path):
    app = postgres_urls.app.replace(APP, "ai_stranger")
    settings = settings_of(Urls(postgres_urls.owner, app, postgres_urls.superuser), tmp_path)

    with pytest.raises(StartRefused, match="ai_stranger"):
        upgrade(settings)
