"""Made copies: what their rows hold to, that constants matter in them, and that nothing but a read gets through."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlglot import exp, parse_one

from aiservice.sqlassist.runner import RunFailed
from aiservice.sqlassist.schema import Schema, read_schema
from aiservice.sqlassist.scratch import Scratch, open_scratch

DDL = """
CREATE TABLE orchard (orchard_id INTEGER PRIMARY KEY, village TEXT NOT NULL, code TEXT NOT NULL UNIQUE);
CREATE TABLE tree (
    tree_id INTEGER PRIMARY KEY, orchard_id INTEGER NOT NULL REFERENCES orchard (orchard_id), kind TEXT,
    planted DATE, height REAL, is_grafted BOOLEAN, seen_at TIMESTAMP, parent_id INTEGER REFERENCES tree (tree_id)
);
CREATE TABLE harvest (
    tree_id INTEGER NOT NULL REFERENCES tree (tree_id), season INTEGER NOT NULL, kilos INTEGER,
    PRIMARY KEY (tree_id, season)
);
"""
ALL = "SELECT * FROM orchard, tree, harvest WHERE orchard.village = 'Ashby' AND tree.kind LIKE 'pear%'"


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_schema(DDL, "postgres")


def rows_of(copy: Scratch, sql: str, dialect: str = "postgres") -> Sequence[tuple[Any, ...]]:
    return copy.run(parse_one(sql, dialect), rows_max=10_000).rows


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("rows", [40, 150])
def test_keys_are_unique_and_point_at_rows_that_are_there(schema: Schema, seed: int, rows: int) -> None:
    with open_scratch(schema, "postgres", statements=[parse_one(ALL, "postgres")], seed=seed, rows=rows) as copy:
        for table, key in (("orchard", "orchard_id"), ("orchard", "code"), ("tree", "tree_id")):
            ((total, distinct, filled),) = rows_of(
                copy, f"SELECT COUNT(*), COUNT(DISTINCT {key}), COUNT({key}) FROM {table}"
            )
            assert total == distinct == filled > 30
        assert rows_of(copy, "SELECT tree_id, season FROM harvest GROUP BY 1, 2 HAVING COUNT(*) > 1") == ()
        lost = (
            "SELECT t.tree_id FROM tree t LEFT JOIN orchard o ON o.orchard_id = t.orchard_id WHERE o.orchard_id IS NULL"
        )
        assert rows_of(copy, lost) == ()
        lost = """SELECT t.tree_id FROM tree t LEFT JOIN tree p ON p.tree_id = t.parent_id
            WHERE p.tree_id IS NULL AND NOT t.parent_id IS NULL"""
        assert rows_of(copy, lost) == ()
        ((missing,),) = rows_of(copy, "SELECT COUNT(*) FROM orchard WHERE village IS NULL")
        assert missing == 0


def test_columns_have_nulls_duplicates_empty_texts_zero_and_negatives(schema: Schema) -> None:
    with open_scratch(schema, "postgres", statements=[parse_one(ALL, "postgres")]) as copy:
        for column in ("kind", "planted", "height", "is_grafted", "seen_at", "parent_id"):
            ((nulls,),) = rows_of(copy, f"SELECT COUNT(*) FROM tree WHERE {column} IS NULL")
            assert 0 < nulls < 20, column
        assert rows_of(copy, "SELECT kind FROM tree WHERE kind <> '' GROUP BY kind HAVING COUNT(*) > 1")
        assert rows_of(copy, "SELECT 1 FROM tree WHERE kind = ''")
        assert rows_of(copy, "SELECT 1 FROM tree WHERE height = 0")
        assert rows_of(copy, "SELECT 1 FROM tree WHERE height < 0")


@pytest.mark.parametrize(
    ("condition", "others"),
    [
        ("kind = 'quince'", ["kind = 'QUINCE'", "kind = 'quincex'"]),
        ("height > 7.5", ["height = 7.5", "height = 8.5"]),
        ("kind LIKE '%plum%'", ["kind = 'plum'"]),
        ("planted >= DATE '2021-03-01'", ["planted < DATE '2021-03-01'"]),
        ("EXTRACT(YEAR FROM planted) = 2018", ["planted < DATE '2018-01-01'", "planted > DATE '2018-12-31'"]),
        ("EXTRACT(YEAR FROM seen_at) = 2018", ["seen_at < TIMESTAMP '2018-01-01 00:00:00'"]),
        ("planted > CURRENT_DATE - INTERVAL '30 days'", ["planted < CURRENT_DATE - INTERVAL '30 days'"]),
        (
            "kind = 'quince' AND height > 7 AND planted < DATE '2020-01-01'",
            ["kind = 'quince' AND height <= 7", "planted > DATE '2020-01-01'"],
        ),
    ],
)
def test_constants_are_in_the_rows_and_so_is_what_only_just_is_not_them(
    schema: Schema, condition: str, others: list[str]
) -> None:
    sql = f"SELECT tree_id FROM tree WHERE {condition}"
    with open_scratch(schema, "postgres", statements=[parse_one(sql, "postgres")]) as copy:
        ((total,),) = rows_of(copy, "SELECT COUNT(*) FROM tree")
        assert 0 < len(rows_of(copy, sql)) < total
        for other in others:
            assert rows_of(copy, f"SELECT tree_id FROM tree WHERE {other}"), other


def test_only_the_tables_that_are_named_are_made_and_those_that_they_point_at(schema: Schema) -> None:
    with open_scratch(schema, "postgres", statements=[parse_one("SELECT 1 FROM tree")]) as copy:
        assert len(rows_of(copy, "SELECT * FROM orchard")) > 0
        with pytest.raises(RunFailed, match="harvest"):
            rows_of(copy, "SELECT * FROM harvest")


def test_ten_thousand_tables_cost_no_more_than_the_one_that_is_named() -> None:
    ddl = "\n".join(f"CREATE TABLE part_{number} (id INTEGER PRIMARY KEY, label TEXT);" for number in range(10_000))
    schema = read_schema(ddl, "postgres")
    started_s = time.process_time()
    with open_scratch(schema, "postgres", statements=[parse_one("SELECT label FROM part_9000")]) as copy:
        assert len(rows_of(copy, "SELECT label FROM part_9000")) == 40
    assert time.process_time() - started_s < 0.1


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(schema: Schema) -> None:
    def made(seed: int) -> Sequence[tuple[Any, ...]]:
        with open_scratch(schema, "postgres", statements=[parse_one(ALL)], seed=seed) as copy:
            return rows_of(copy, "SELECT * FROM tree")

    assert made(3) == made(3) != made(4)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orchard VALUES (1, 'a', 'b')",
        "DELETE FROM orchard",
        "CREATE TABLE more (a INTEGER)",
        "DROP TABLE orchard",
        "ATTACH 'elsewhere.db' AS other",
        "SELECT load_extension('x')",
    ],
)
def test_nothing_but_a_read_gets_through(schema: Schema, statement: str) -> None:
    with open_scratch(schema, "sqlite", statements=[parse_one(ALL)]) as copy:
        before = rows_of(copy, "SELECT COUNT(*) FROM orchard", "sqlite")
        with pytest.raises(RunFailed):
            copy.run(parse_one(statement, "sqlite"))
        assert rows_of(copy, "SELECT COUNT(*) FROM orchard", "sqlite") == before


def test_a_statement_without_end_is_ended(schema: Schema) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    with open_scratch(schema, "sqlite", statements=[parse_one(ALL)]) as copy:
        started_s = time.monotonic()
        with pytest.raises(RunFailed) as caught:
            copy.run(parse_one(endless, "sqlite"), seconds=0.1)
        assert caught.value.kind == "time"
        assert time.monotonic() - started_s < 1.0
        assert rows_of(copy, "SELECT 1", "sqlite") == ((1,),)


def test_rows_are_capped_and_it_is_said(schema: Schema) -> None:
    with open_scratch(schema, "postgres", statements=[parse_one(ALL)]) as copy:
        capped = copy.run(parse_one("SELECT tree_id FROM tree"), rows_max=5)
        assert (len(capped.rows), capped.is_truncated, capped.columns) == (5, True, ("tree_id",))
        assert not copy.run(parse_one("SELECT COUNT(*) FROM tree"), rows_max=5).is_truncated


def test_more_work_is_more_steps(schema: Schema) -> None:
    with open_scratch(schema, "postgres", statements=[parse_one(ALL)], rows=200, steps_per_call=10) as copy:
        one = copy.run(parse_one("SELECT tree_id FROM tree WHERE tree_id = 3")).steps
        many = copy.run(parse_one("SELECT tree_id FROM tree ORDER BY height")).steps
        assert one is not None
        assert many is not None
        assert one < 100 < many
        assert "tree_0" in copy.plan(parse_one("SELECT height FROM tree WHERE tree_id = 3"))


def test_like_tells_capitals_apart_where_the_dialect_does(schema: Schema) -> None:
    sql = "SELECT COUNT(*) FROM (SELECT 'Pear' AS fruit) AS f WHERE fruit LIKE 'pear'"
    counts = {}
    for dialect in ("postgres", "mysql"):
        with open_scratch(schema, dialect, statements=[parse_one(ALL)]) as copy:
            counts[dialect] = rows_of(copy, sql, dialect)
    assert counts == {"postgres": ((0,),), "mysql": ((1,),)}


def test_days_of_a_date_column_are_counted_as_days(schema: Schema) -> None:
    query = "SELECT COUNT(*) FROM tree WHERE CURRENT_DATE - planted < 50 AND planted + 50 > CURRENT_DATE"
    plain = "SELECT COUNT(*) FROM tree WHERE planted > CURRENT_DATE - INTERVAL '50 days'"
    with open_scratch(schema, "postgres", statements=[parse_one(query, "postgres")]) as copy:
        assert rows_of(copy, query) == rows_of(copy, plain) != ((0,),)


def test_what_sqlite_cannot_say_is_run_elsewhere_on_the_same_rows(schema: Schema) -> None:
    odd = "SELECT kind, QUANTILE_CONT(height, 0.5) FROM tree WHERE height > 1 GROUP BY kind"
    with open_scratch(schema, "duckdb", statements=[parse_one(odd, "duckdb")]) as copy:
        found = copy.run(parse_one(odd, "duckdb"))
        kinds = {row[0] for row in rows_of(copy, "SELECT DISTINCT kind FROM tree WHERE height > 1", "duckdb")}
        assert {row[0] for row in found.rows} == kinds
        assert found.steps is None
        for outside in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd.csv'"):
            with pytest.raises(RunFailed):
                copy.run(parse_one(outside, "duckdb"))


def test_a_schema_of_names_alone_is_enough() -> None:
    schema = read_schema("nest(nest_id, bird, eggs)", "sqlite")
    query: exp.Expr = parse_one("SELECT bird FROM nest WHERE eggs > 3 AND bird = 'wren'", "sqlite")
    with open_scratch(schema, "sqlite", statements=[query]) as copy:
        assert copy.run(query).rows


def test_names_are_only_names() -> None:
    schema = read_schema('CREATE TABLE "a""b; DROP TABLE c" ("x""y) --" INTEGER, "group" TEXT UNIQUE)', "postgres")
    (table,) = schema.tables
    query = exp.select(exp.column(table.columns[0].name, quoted=True)).from_(exp.table_(table.name, quoted=True))
    with open_scratch(schema, "postgres", statements=[query]) as copy:
        assert len(copy.run(query).rows) == 40
        copy.add_index(table.name, [table.columns[0].name])
        assert len(copy.run(query).rows) == 40


def test_tables_of_other_schemas_are_found_by_their_whole_name() -> None:
    schema = read_schema("CREATE TABLE north.mill (id INTEGER PRIMARY KEY, sails INTEGER)", "postgres")
    query = parse_one("SELECT north.mill.sails FROM north.mill WHERE mill.id > 3", "postgres")
    with open_scratch(schema, "postgres", statements=[query]) as copy:
        assert len(copy.run(query).rows) > 30


def test_a_subquerys_constants_are_not_the_outer_columns_and_numbers_stay_numbers(schema: Schema) -> None:
    sql = "SELECT kilos FROM harvest WHERE kilos NOT IN (SELECT tree_id FROM tree WHERE kind = 'fig') OR kilos = 'many'"
    with open_scratch(schema, "postgres", statements=[parse_one(sql, "postgres")]) as copy:
        assert {type(kilos) for (kilos,) in rows_of(copy, "SELECT kilos FROM harvest")} == {int, type(None)}
        assert rows_of(copy, "SELECT 1 FROM tree WHERE kind = 'fig'")
