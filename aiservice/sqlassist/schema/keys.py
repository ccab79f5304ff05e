"""Foreign keys that nobody declared, told from names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from aiservice.sqlassist.schema.model import Column, ForeignKey, Schema, Table

_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\s.-]+")
# What a key's name ends with.
_KEY_WORDS = frozenset({"id", "code", "key", "no", "number", "uuid", "num"})


@lru_cache(maxsize=65_536)
def tokens(name: str) -> tuple[str, ...]:
    """The words of a name: `lbTxReaderId` and `tx_reader_id` are both several, lower case."""
    return tuple(part.lower() for part in _HUMPS.split(name) if part)


def with_keys(schema: Schema) -> Schema:
    """The schema with the keys that its names speak of, where a table declares none for a column, and keys resolved."""
    owners = _owners(schema)
    tables = tuple(_table(schema, table, owners) for table in schema.tables)
    return Schema(tables)


def singular(word: str) -> str:
    """A plural noun's singular, roughly."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2:
        return word[:-1]
    return word


def _owners(schema: Schema) -> Mapping[tuple[str, ...], tuple[Table, Column]]:
    """What a column may be called that holds a table's key, and whose key it then is; names of two are nobody's."""
    owners: dict[tuple[str, ...], tuple[Table, Column] | None] = {}
    for table in schema.tables:
        key = _key(table)
        if key is None:
            continue
        for name in set(_names_of_key(table, key)):
            owners[name] = None if name in owners else (table, key)
    return {name: owner for name, owner in owners.items() if owner is not None}


def _key(table: Table) -> Column | None:
    """The one column that identifies a row: the primary key, else one called id or after its table."""
    if len(table.primary_key) == 1:
        return table.column(table.primary_key[0])
    if table.primary_key:
        return None
    words = tuple(map(singular, tokens(table.name)))
    for column in table.columns[:2]:
        parts = tokens(column.name)
        if parts == ("id",) or (parts and parts[-1] in _KEY_WORDS and parts[:-1] == words):
            return column
    first = tokens(table.columns[0].name) if table.columns else ()
    is_short = len(first) > 1 and first[-1] in _KEY_WORDS and len(words) == 1
    return table.columns[0] if is_short and _is_short_for("".join(first[:-1]), words[0]) else None


def _is_short_for(part: str, word: str) -> bool:
    """`cust` for `customer`."""
    return 1 < len(part) < len(word) and word.startswith(part)


def _names_of_key(table: Table, key: Column) -> Iterator[tuple[str, ...]]:
    words = tuple(map(singular, tokens(table.name)))
    parts = tokens(key.name)
    if len(parts) == 1 and parts[0] in _KEY_WORDS:
        yield (*words, *parts)
        yield (words[-1], *parts)
    else:
        yield parts
        if len(parts) > 2:
            yield parts[-2:]
    yield (*words, "id")


def _table(schema: Schema, table: Table, owners: Mapping[tuple[str, ...], tuple[Table, Column]]) -> Table:
    declared = tuple(_resolved(schema, key) for key in table.foreign_keys)
    taken = {column.lower() for key in declared for column in key.columns}
    guessed = tuple(_guesses(table, owners, taken))
    shared = () if declared or guessed else tuple(_shared(schema, table))
    return replace(table, foreign_keys=(*declared, *guessed, *shared))


def _resolved(schema: Schema, key: ForeignKey) -> ForeignKey:
    """A key that names no columns holds the other table's primary key."""
    target = schema.table(key.table)
    if target is None:
        return key
    references = key.references or target.primary_key or key.columns
    return replace(key, table=target.name, references=references)


def _guesses(
    table: Table, owners: Mapping[tuple[str, ...], tuple[Table, Column]], taken: set[str]
) -> Iterator[ForeignKey]:
    own = _key(table)
    for column in table.columns:
        if column.name.lower() in taken or column == own:
            continue
        parts = tokens(column.name)
        owner = owners.get(parts) or next(
            (owners[parts[start:]] for start in range(1, len(parts) - 1) if parts[start:] in owners), None
        )
        if owner is not None and owner[0].name != table.name and _alike(column, owner[1]):
            yield ForeignKey((column.name,), owner[0].name, (owner[1].name,), is_declared=False)


def _shared(schema: Schema, table: Table) -> Iterator[ForeignKey]:
    """Tables without any key are joined by a text column that two of them have alone."""
    if table.primary_key:
        return
    for column in table.columns:
        others = [other for other in schema.tables_with(column.name) if other.name != table.name]
        is_named = len(tokens(column.name)) > 1
        if is_named and len(others) == 1 and not others[0].primary_key and column.kind == "text":
            yield ForeignKey((column.name,), others[0].name, (column.name,), is_declared=False)


def _alike(one: Column, other: Column) -> bool:
    numbers = {"integer", "real"}
    return one.kind == other.kind or {one.kind, other.kind} <= numbers or "unknown" in (one.kind, other.kind)
