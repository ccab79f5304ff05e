"""POST /ai/sql/assist through the whole application and a real pool of sandboxes."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiservice.app import open_databases
from tests.api.asgi_client import Client
from tests.api.conftest import Service
from tests.servers.sql_pool import SqlPool, sql_pool

LIBRARY = """
CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, joined DATE);
CREATE TABLE loans (
    id INTEGER PRIMARY KEY, member_id INTEGER NOT NULL REFERENCES members (id), title TEXT NOT NULL, returned DATE
);
"""


@pytest.fixture(scope="session")
def pool() -> Iterator[SqlPool]:
    with sql_pool() as running:
        yield running


@pytest.fixture
def environ(environ: dict[str, str], pool: SqlPool) -> dict[str, str]:
    pool.serve(Path(environ["DATA_DIR"]))
    return environ


@pytest.fixture
async def library(service: Service, tmp_path: Path) -> str:
    """A registered SQLite file with some rows; gives its name."""
    path = tmp_path / "library.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(LIBRARY)
        members = [(1, "Ada", "Graz", "2024-01-05"), (2, "Ben", "Linz", "2024-03-01"), (3, "Cleo", "Graz", None)]
        connection.executemany("INSERT INTO members VALUES (?, ?, ?, ?)", members)
        loans = [(1, 1, "Emma", None), (2, 1, "Dune", "2025-01-01"), (3, 2, "Ulysses", None)]
        connection.executemany("INSERT INTO loans VALUES (?, ?, ?, ?)", loans)
    async with open_databases(service.settings) as databases:
        await databases.add("acme", "library", f"sqlite:///{path}")
    return "library"


async def ask(client: Client, action: str, query: str, **fields: Any) -> Any:
    answer = await client.post("/ai/sql/assist", {"action": action, "query": query, **fields})
    assert answer.status == 200, answer.body
    return answer.json


async def refused(client: Client, action: str, query: str, **fields: Any) -> tuple[int, str, str]:
    answer = await client.post("/ai/sql/assist", {"action": action, "query": query, **fields})
    error = answer.json["error"]
    return answer.status, error["code"], error["message"]


async def rows(service: Service, client: Client, count: int) -> list[dict[str, Any]]:
    while True:
        listed = (await client.get("/usage/logs?limit=50")).json["logs"]
        if len(listed) >= count:
            return list(listed)


async def test_explain_names_facts_and_traps(client: Client):
    sql = "SELECT city, count(*) FROM members WHERE joined = NULL GROUP BY city ORDER BY count(*) DESC LIMIT 3"
    answer = await ask(client, "explain", sql, schema=LIBRARY)
    facts = answer["explanation"]["facts"]
    assert (facts["tables"], facts["columns"]) == (["members"], ["city", "joined"])
    assert (facts["order"], facts["limit"]) == ("desc", 3)
    assert (answer["verified"], answer["verified_by"], answer["sql"]) == (True, ["parsed", "resolved"], sql)
    assert any("NULL" in warning for warning in answer["warnings"])
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert answer["model"] is None


async def test_fix_says_what_it_changed_and_why(client: Client):
    answer = await ask(client, "fix", "SELCT nmae FROM members", schema=LIBRARY, dialect="sqlite")
    assert answer["sql"].lower() == "select name from members"
    assert {change["rule"] for change in answer["changes"]} >= {"column"}
    assert all(change["why"] for change in answer["changes"])
    assert "executed" in answer["verified_by"]


async def test_generate_answers_from_a_registered_database(client: Client, library: str):
    answer = await ask(client, "generate", "How many members are there?", database=library)
    assert answer["dialect"] == "sqlite"
    assert "count" in answer["sql"].lower()
    assert answer["refused"] is None
    assert 0 < answer["confidence"] <= 1


async def test_generate_refuses_what_the_schema_cannot_answer(client: Client, library: str):
    answer = await ask(client, "generate", "Which members prefer decaffeinated espresso?", database=library)
    assert answer["sql"] is None
    assert answer["refused"]["missing"]


async def test_optimize_keeps_only_what_is_equal_and_cheaper(client: Client):
    sql = "SELECT name FROM members WHERE (SELECT count(*) FROM loans WHERE loans.member_id = members.id) > 0"
    answer = await ask(client, "optimize", sql, schema=LIBRARY, dialect="sqlite")
    if answer["changes"]:
        assert {"equal_results", "cheaper_plan"} <= set(answer["verified_by"])
        assert answer["plan"]["after"]["cost"] < answer["plan"]["before"]["cost"]
    else:
        assert any("No improvement" in warning for warning in answer["warnings"])


async def test_a_request_is_one_row_and_one_of_the_limit(service: Service, client: Client):
    answer = await client.post("/ai/sql/assist", {"action": "explain", "query": "SELECT 1"})
    assert answer.header("x-ratelimit-remaining") == "99"
    (row,) = await rows(service, client, 1)
    assert (row["endpoint"], row["status_code"]) == ("/ai/sql/assist", 200)
    assert (row["total_tokens"], row["model_used"]) == (0, None)


async def test_a_model_s_words_that_are_no_sql_are_caught_and_its_tokens_counted(
    service: Service, client: Client, library: str
):
    answer = await ask(client, "generate", "How many loans are there?", database=library, model="words-10")
    assert answer["model"] == "words-10"
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["sql"] is None or "count" in answer["sql"].lower()
    (row,) = await rows(service, client, 1)
    assert (row["total_tokens"], row["model_used"]) == (answer["usage"]["total_tokens"], "words-10")


async def test_a_model_that_fails_is_no_reason_for_no_answer(client: Client, library: str):
    answer = await ask(client, "generate", "How many loans are there?", database=library, model="busy")
    assert "count" in answer["sql"].lower()
    assert any("busy" in warning for warning in answer["warnings"])


async def test_a_model_may_say_an_explanation_in_other_words_but_not_lose_a_fact(client: Client):
    sql = "SELECT name FROM members WHERE city = 'Graz' LIMIT 2"
    plain = await ask(client, "explain", sql, schema=LIBRARY)
    assert plain["model"] is None
    lost = await ask(client, "explain", sql, schema=LIBRARY, model="words-10")
    assert (lost["model"], lost["explanation"]) == ("words-10", plain["explanation"])
    assert lost["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize(
    ("fields", "status", "code", "word"),
    [
        ({"action": "explain", "query": "   "}, 422, "request.field_invalid", "empty"),
        ({"action": "explain", "query": "-- nothing"}, 422, "sql.statement_refused", "empty"),
        ({"action": "explain", "query": "SELECT 1; SELECT 2"}, 422, "sql.statement_refused", "2 statements"),
        ({"action": "optimize", "query": "DELETE FROM members"}, 422, "sql.statement_refused", "DELETE"),
        ({"action": "tidy", "query": "SELECT 1"}, 422, "request.field_invalid", "tidy"),
        ({"action": "explain", "query": "SELECT 1", "dialect": "klingon"}, 422, "request.field_invalid", "klingon"),
        (
            {"action": "explain", "query": "SELECT 1", "schema": "CREATE TABLE a (b INT,"},
            422,
            "sql.schema_invalid",
            "line 1",
        ),
        ({"action": "explain", "query": "SELECT 1", "schema": "what is this?"}, 422, "sql.schema_invalid", "line 1"),
        ({"action": "explain", "query": "SELECT 1", "database": "nowhere"}, 404, "sql.database_unknown", "nowhere"),
        ({"action": "explain", "query": "SELECT 1", "database": "../etc"}, 422, "request.field_invalid", "database"),
        ({"action": "explain", "query": "S" * 100_001}, 422, "request.field_invalid", "query"),
        ({"action": "explain", "query": "SELECT 'a\0'"}, 422, "request.field_invalid", "U+0000"),
        ({"action": "explain"}, 422, "request.field_invalid", "query"),
        ({"action": "generate", "query": "How many?", "model": "none"}, 404, "engines.model_unknown", "none"),
    ],
)
async def test_bad_input_is_said(client: Client, fields: dict[str, Any], status: int, code: str, word: str):
    answer = await client.post("/ai/sql/assist", fields)
    assert (answer.status, answer.json["error"]["code"]) == (status, code), answer.body
    assert word in answer.json["error"]["message"]


async def test_a_body_of_a_megabyte_is_too_large(client: Client):
    body = {"action": "explain", "query": "SELECT 1", "schema": "x" * 1_048_576}
    answer = await client.post("/ai/sql/assist", body)
    assert answer.status == 413


async def test_what_writes_is_explained_and_not_run(client: Client, library: str):
    answer = await ask(client, "explain", "DELETE FROM loans WHERE returned IS NULL", database=library)
    assert "not run" in answer["explanation"]["text"]
    again = await ask(client, "explain", "SELECT count(*) FROM loans", database=library)
    assert again["plan"]["before"]["unit"] == "sqlite_steps"


async def test_another_tenant_s_database_is_unknown(service: Service, library: str):
    other = await service.with_key(tenant_id="other")
    assert (await refused(other, "explain", "SELECT 1", database=library))[:2] == (404, "sql.database_unknown")


async def test_a_database_that_is_gone_is_503(client: Client, library: str, tmp_path: Path):
    (tmp_path / "library.sqlite").unlink()
    assert (await refused(client, "explain", "SELECT 1", database=library))[:2] == (503, "sql.database_down")


async def test_a_key_without_the_scope_is_turned_away(service: Service):
    client = await service.with_key(scopes=["generate"])
    assert (await refused(client, "explain", "SELECT 1"))[:2] == (403, "keys.not_allowed")


class TestSwitchedOff:
    """An operator may do without."""

    @pytest.fixture
    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        return environ | {"SQL_SANDBOXES": "0"}

    async def test_it_is_said(self, client: Client):
        assert (await refused(client, "explain", "SELECT 1"))[:2] == (404, "request.route_unknown")
