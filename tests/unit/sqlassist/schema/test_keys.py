"""Foreign keys that nobody declared."""

import time

import pytest

from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table, read_schema, with_keys


def keys_of(text: str, table: str) -> list[tuple[str, str, str]]:
    found = read_schema(text, "postgres").table(table)
    assert found is not None
    return [(key.columns[0], key.table, key.references[0]) for key in found.foreign_keys]


@pytest.mark.parametrize(
    ("owner", "column"),
    [
        ("reader (id INT PRIMARY KEY)", "reader_id"),
        ("readers (id INT PRIMARY KEY)", "reader_id"),
        ("Readers (id INT PRIMARY KEY)", "readerId"),
        ("library_reader (id INT PRIMARY KEY)", "library_reader_id"),
        ("library_reader (id INT PRIMARY KEY)", "reader_id"),
        ("reader (reader_id INT PRIMARY KEY)", "reader_id"),
        ("reader (ReaderID INT PRIMARY KEY)", "ReaderID"),
        ("lbReader (lbReaderId INT PRIMARY KEY)", "lbTxReaderId"),
        ("categories (id INT PRIMARY KEY)", "category_id"),
        ("reader (id INT, name TEXT)", "reader_id"),
    ],
)
def test_a_column_named_after_another_tables_key(owner: str, column: str) -> None:
    table, _, columns = owner.partition(" (")
    key = columns.partition(" ")[0]
    text = f"CREATE TABLE {owner}; CREATE TABLE loan (loan_no INT PRIMARY KEY, {column} INT)"
    assert keys_of(text, "loan") == [(column, table, key)]
    loan = read_schema(text, "postgres").table("loan")
    assert loan is not None
    assert not loan.foreign_keys[0].is_declared


@pytest.mark.parametrize(
    "column", ["reader_id TEXT", "reader_name INT", "reader INT", "readership_id INT", "id INT", "ider_id INT"]
)
def test_no_key_where_name_or_type_differ(column: str) -> None:
    text = f"CREATE TABLE reader (id INT PRIMARY KEY, name TEXT); CREATE TABLE loan (loan_no INT PRIMARY KEY, {column})"
    assert keys_of(text, "loan") == []


def test_a_declared_key_is_not_guessed_again() -> None:
    text = """CREATE TABLE reader (id INT PRIMARY KEY); CREATE TABLE person (id INT PRIMARY KEY);
    CREATE TABLE loan (no INT PRIMARY KEY, reader_id INT REFERENCES person)"""
    assert keys_of(text, "loan") == [("reader_id", "person", "id")]


def test_a_name_that_two_tables_may_own_is_nobodys() -> None:
    text = """CREATE TABLE a_reader (id INT PRIMARY KEY); CREATE TABLE b_reader (id INT PRIMARY KEY);
    CREATE TABLE loan (no INT PRIMARY KEY, reader_id INT)"""
    assert keys_of(text, "loan") == []


def test_keys_of_several_columns_are_resolved_and_spelled_as_the_columns() -> None:
    text = """CREATE TABLE Seat (Row INT, No INT, PRIMARY KEY (row, no));
    CREATE TABLE ticket (id INT, r INT, n INT, FOREIGN KEY (R, N) REFERENCES seat)"""
    schema = read_schema(text, "postgres")
    assert schema.tables[0].primary_key == ("Row", "No")
    assert schema.tables[1].foreign_keys == (ForeignKey(("r", "n"), "Seat", ("Row", "No")),)


def test_many_tables_take_no_longer_each() -> None:
    def tables(count: int) -> Schema:
        return Schema(
            tuple(
                Table(
                    f"part_{n}",
                    (Column("id", "INT", "integer"), Column(f"part_{n // 2}_id", "INT", "integer")),
                    ("id",),
                )
                for n in range(count)
            )
        )

    def seconds(schema: Schema) -> float:
        started_s = time.process_time()
        found = with_keys(schema)
        assert len(found.tables[-1].foreign_keys) == 1
        return time.process_time() - started_s

    assert seconds(tables(20_000)) < 40 * max(seconds(tables(2_000)), 0.01)
