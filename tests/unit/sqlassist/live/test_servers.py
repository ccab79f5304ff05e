"""Registered PostgreSQL and MariaDB databases: what is read of them, and that nothing else can be done to them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlglot

from aiservice.core.errors import DatabaseDown, SqlTimeout, StatementRefused
from aiservice.sqlassist.live import Live, open_live
from aiservice.sqlassist.live.mysql import MysqlDatabase
from aiservice.sqlassist.live.postgresql import PostgresDatabase
from aiservice.sqlassist.model import Target
from aiservice.sqlassist.runner import RunFailed
from tests.servers.mariadb_server import MariadbServer
from tests.servers.postgres_server import OWNER, PostgresServer
from tests.unit.sqlassist.hostile import hostile

pytestmark = pytest.mark.stores

SHOP = (
    "CREATE TABLE makers (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL UNIQUE, country VARCHAR(20))",
    "CREATE TABLE bicycles (id INTEGER PRIMARY KEY, maker_id INTEGER NOT NULL, model VARCHAR(40), price DECIMAL(8, 2),"
    " sold TIMESTAMP NULL, FOREIGN KEY (maker_id) REFERENCES makers (id))",
    "CREATE INDEX bicycles_price ON bicycles (price)",
    "CREATE VIEW dear AS SELECT model FROM bicycles WHERE price > 900",
    "CREATE TABLE t (a INTEGER)",
    "INSERT INTO makers VALUES (1, 'Rond', 'Belgium'), (2, 'Vela', 'Italy')",
    "INSERT INTO bicycles VALUES (1, 1, 'Gravel', 950.50, NULL), (2, 1, 'City', 400, '2025-01-02 10:00:00'),"
    " (3, 2, 'Race', 2100, NULL)",
    "INSERT INTO t VALUES (1), (2)",
)
# A thousand million rows to count.
SLOW = f"SELECT count(*) FROM {', '.join(f't a{number}' for number in range(30))}"


@dataclass(frozen=True)
class Shop:
    """A filled database: as its reader sees it, and what its owner counts in it."""

    url: str
    counted: Callable[[], list[str]]

    @contextmanager
    def opened(self) -> Iterator[Live]:
        with open_live(Target("shop", self.url)) as live:
            yield live


COUNTS = "SELECT (SELECT count(*) FROM makers), (SELECT count(*) FROM bicycles), (SELECT sum(a) FROM t)"


@pytest.fixture(scope="module")
def postgres_shop(postgres_server: PostgresServer) -> Iterator[Shop]:
    urls = postgres_server.new_database()
    grants = ("GRANT USAGE ON SCHEMA public TO ai_app", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ai_app")
    comment = "COMMENT ON COLUMN makers.country IS E'where they\\nbuild'"

    def sql(statement: str) -> str:
        return postgres_server.sql(statement, database=urls.database, user=OWNER)

    for statement in (*SHOP, *grants, comment):
        sql(statement)
    yield Shop(urls.app, lambda: [sql(COUNTS)])
    postgres_server.drop_database(urls.database)


@pytest.fixture(scope="module")
def mariadb_shop(mariadb_server: MariadbServer) -> Shop:
    mariadb_server.run(*SHOP)
    return Shop(mariadb_server.url("filer"), lambda: [str(mariadb_server.rows(COUNTS))])


@pytest.fixture(params=["postgres", "mysql"])
def shop(request: pytest.FixtureRequest) -> Shop:
    found = request.getfixturevalue("postgres_shop" if request.param == "postgres" else "mariadb_shop")
    assert isinstance(found, Shop)
    return found


def test_the_schema_is_read_with_keys_and_values(shop: Shop):
    with shop.opened() as live:
        schema = live.schema()
    makers, bicycles = schema.table("makers"), schema.table("bicycles")
    assert makers is not None
    assert bicycles is not None
    assert (makers.primary_key, makers.unique) == (("id",), (("name",),))
    assert [(key.columns, key.table, key.references) for key in bicycles.foreign_keys] == [
        (("maker_id",), "makers", ("id",))
    ]
    assert ("price",) in bicycles.indexes
    country, price, sold = makers.column("country"), bicycles.column("price"), bicycles.column("sold")
    assert country is not None
    assert price is not None
    assert sold is not None
    assert (set(country.values), price.kind, sold.kind) == ({"Belgium", "Italy"}, "real", "datetime")
    assert schema.table("dear") is not None


def test_rows_plans_and_grids(shop: Shop):
    with shop.opened() as live:
        statement = sqlglot.parse_one("SELECT model FROM bicycles ORDER BY id", read=live.dialect)
        rows = live.run(statement, rows_max=2)
        assert (rows.rows, rows.is_truncated) == ((("Gravel",), ("City",)), True)
        assert live.plan(statement)["cost"] > 0
        grid = live.grid("SELECT price, sold FROM bicycles ORDER BY id -- all\n;", rows_max=2, seconds=1)
        assert grid.rows[0] == ("950.50", None)
        assert grid.rows[1][1] == "2025-01-02 10:00:00"
        with pytest.raises(StatementRefused):
            live.grid("DELETE FROM bicycles", rows_max=1, seconds=1)
        with pytest.raises(StatementRefused, match="nowhere"):
            live.grid("SELECT * FROM nowhere", rows_max=1, seconds=1)


def test_a_slow_statement_is_ended_and_the_next_one_runs(shop: Shop):
    with shop.opened() as live:
        started_s = time.monotonic()
        with pytest.raises(RunFailed) as failed:
            live.run(sqlglot.parse_one(SLOW, read=live.dialect), seconds=0.3)
        assert failed.value.kind == "time"
        with pytest.raises(SqlTimeout):
            live.grid(SLOW, rows_max=1, seconds=0.3)
        assert time.monotonic() - started_s < 5
        assert live.run(sqlglot.parse_one("SELECT 1", read=live.dialect)).rows == ((1,),)


def test_hostile_statements_change_nothing_and_read_no_file(shop: Shop, tmp_path: Path):
    """Past the gate, straight to the connection; MariaDB's role may even use files."""
    before, told = shop.counted(), []
    with shop.opened() as live:
        for sql in hostile():
            aimed = sql.replace("/tmp/x", str(tmp_path / "x"))
            try:
                told.append(_raw(live, aimed))
            except (RunFailed, DatabaseDown):
                continue
    assert shop.counted() == before
    assert list(tmp_path.iterdir()) == []
    if "postgres" in shop.url:
        assert "root:" not in repr(told)


def _raw(live: Live, sql: str) -> object:
    if isinstance(live, PostgresDatabase):
        return live._await(live._fetch(sql, 5, 0.2))
    assert isinstance(live, MysqlDatabase)
    return live._fetch(sql, 5, 0.2)


def test_what_the_role_may_do_is_known(postgres_server: PostgresServer, postgres_shop: Shop):
    with postgres_shop.opened() as live:
        assert isinstance(live, PostgresDatabase)
        assert live.may_write() == (False, False)
    urls = postgres_server.new_database()
    with open_live(Target("own", urls.superuser)) as live:
        assert isinstance(live, PostgresDatabase)
        assert live.may_write()[0]
    postgres_server.drop_database(urls.database)


def test_a_wrong_password_is_said_without_it(shop: Shop):
    user, _, rest = shop.url.partition("@")
    wrong = f"{user.rpartition(':')[0]}:wrong-secret@{rest}"
    with pytest.raises(DatabaseDown) as down, open_live(Target("shop", wrong)):
        pass
    assert "wrong-secret" not in f"{down.value} {down.value.detail}"
