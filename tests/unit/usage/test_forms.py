"""How PostgreSQL is told of rows and sums, as far as a connection that answers from a script can tell."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aiservice.core.errors import Unexpected
from aiservice.stores.tables import ai_usage_logs
from aiservice.usage.forms import PostgresForm, form_of
from aiservice.usage.model import NUMBER_MAX, UsageRecord

DIALECT = postgresql.dialect(paramstyle="numeric_dollar")
FIELDS = UsageRecord.__struct_fields__


class ScriptedConnection:
    """Stands for a connection: notes what it is told and gives the counts it was made with."""

    def __init__(self, *counts: int) -> None:
        self.said: list[tuple[str, tuple[list[object], ...]]] = []
        self._counts = list(counts)

    async def exec_driver_sql(self, text: str, values: tuple[list[object], ...]) -> "ScriptedResult":
        self.said.append((text, values))
        return ScriptedResult(self._counts.pop(0))


class ScriptedResult:
    def __init__(self, count: int) -> None:
        self._count = count

    def one(self) -> tuple[int, None]:
        return self._count, None


@pytest.fixture
def form() -> PostgresForm:
    return PostgresForm(DIALECT)


def text(statement: sa.ClauseElement) -> str:
    return " ".join(str(statement.compile(dialect=DIALECT)).split())


async def test_postgres_is_given_a_batch_by_its_columns_in_the_order_of_its_ids(form, make_record):
    rows = [make_record(prompt_tokens=number) for number in range(3)]
    connection = ScriptedConnection(2)

    assert await form.insert(connection, [rows[2], rows[0], rows[1]]) == 2

    [(_, columns)] = connection.said
    given = dict(zip(FIELDS, columns, strict=True))
    assert given["id"] == sorted(row.id for row in rows)
    assert given["prompt_tokens"] == [0, 1, 2]
    assert given["created_at_us"] == [row.created_at_us for row in rows]


async def test_postgres_sums_the_rows_that_it_says_are_new(form, make_record):
    connection = ScriptedConnection(1)
    await form.insert(connection, [make_record()])

    [(said, _)] = connection.said
    said = " ".join(said.split())
    new, hours, statuses = said.split("INSERT INTO ")[1:]
    count = statuses.rpartition(") SELECT count(*)")[2]
    assert "ON CONFLICT DO NOTHING RETURNING" in new
    # A cast to a text of some length would cut what is too long.
    assert "VARCHAR" not in new
    assert 'FROM "new" GROUP BY 1 ORDER BY 1 ON CONFLICT (status_code) DO UPDATE SET requests =' in statuses
    assert 'FROM "new" GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 ON CONFLICT (tenant_id, api_key_id' in hours
    assert "timezone('UTC', date_trunc('hour', timezone('UTC', \"new\".created_at)))" in hours
    assert "set_config('synchronous_commit', 'on', true)" in count
    assert 'FROM "new"' in count


async def test_postgres_is_not_asked_to_take_a_number_that_no_sum_could_hold(form, make_record):
    connection = ScriptedConnection()
    with pytest.raises(Unexpected, match="above"):
        await form.insert(connection, [make_record(), make_record(cost_nano=NUMBER_MAX + 1)])

    assert connection.said == []


def test_days_and_hours_are_those_of_utc(form):
    moment = ai_usage_logs.c.created_at

    assert text(form.day(moment)).startswith("to_char(timezone('UTC', ai_usage_logs.created_at), $1")
    assert text(form.hour(moment)) == "timezone('UTC', date_trunc('hour', timezone('UTC', ai_usage_logs.created_at)))"


def test_a_letter_s_id_is_read_from_its_text(form):
    """Its JSON may hold what PostgreSQL refuses to decode."""
    assert text(form.letter_id()).startswith("SUBSTRING(CAST(usage_dead_letters.record AS TEXT) FROM $1")


@pytest.mark.parametrize(("dialect", "lock"), [(sqlite.dialect(), "begin immediate"), (DIALECT, "lock table")])
def test_every_database_has_its_form(dialect, lock):
    assert form_of(dialect).lock.startswith(lock)
