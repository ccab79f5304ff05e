"""Schemas as people write them down."""

import pytest

from aiservice.core.errors import SchemaInvalid
from aiservice.sqlassist.schema import ForeignKey, read_schema

PERSON = ForeignKey(("owner_id",), "person", ("id",))


@pytest.mark.parametrize(
    "text",
    [
        "person(id, name)\npet(id, owner_id)",
        "person(id, name); pet(id, owner_id);",
        "person(id, name), pet(id, owner_id)",
        "person: id, name\npet: id, owner_id",
        "- table person (id int, name text)\n- table pet (id int, owner_id int)\n",
        "# ours\nperson(id, name) -- people\n/* and */ pet(id, owner_id)",
        "public.person(id, name)\n[dbo].[pet](id, [owner_id])",
        '"person"("id", "name")\n`pet`(`id`, `owner_id`)',
    ],
)
def test_the_forms_of_a_list(text: str) -> None:
    schema = read_schema(text, "postgres")
    assert [(table.name, [column.name for column in table.columns]) for table in schema.tables] == [
        ("person", ["id", "name"]),
        ("pet", ["id", "owner_id"]),
    ]


def test_types_keys_and_values_that_a_list_tells() -> None:
    text = """
    person(id int primary key, "full name" text, born date)
    pet(id pk, owner_id int references person(id), kind text (possible values: cat, dog), seen_at, price decimal(8, 2))
    """
    person, pet = read_schema(text, "postgres").tables
    assert (person.primary_key, pet.primary_key) == (("id",), ("id",))
    assert pet.foreign_keys == (PERSON,)
    assert [column.kind for column in person.columns] == ["integer", "text", "date"]
    assert [column.kind for column in pet.columns] == ["integer", "integer", "text", "datetime", "real"]
    assert pet.columns[2].values == ("cat", "dog")


@pytest.mark.parametrize("reference", ["-> person.id", "fk person.id", "FK: person(id)", "references person"])
def test_ways_to_tell_a_foreign_key(reference: str) -> None:
    schema = read_schema(f"person(id pk, name)\npet(id pk, owner_id {reference})", "postgres")
    assert schema.tables[1].foreign_keys == (PERSON,)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("person(id, name)\n???", 2, 1),
        ("person(id, name", 1, 1),
        ("person", 1, 1),
        ("person(id)\n\n   pet", 3, 4),
        ("person()", 1, 8),
        ("person(id,,name)", 1, 8),
    ],
)
def test_what_is_no_list_is_said_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(SchemaInvalid, match=f"line {line}, column {column}:"):
        read_schema(text, "postgres")
