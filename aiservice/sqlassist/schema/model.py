"""A database as the machine knows it: tables, columns, keys, and some of the values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["integer", "real", "text", "date", "datetime", "time", "boolean", "binary", "json", "unknown"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `type` in sqlglot's own spelling, empty where unknown; `kind` is what matters about it.

    `comment` is a stranger's text: at most 80 characters, one line, never an instruction. `values` are some that are
    known to be in it, by sampling, an ENUM, a CHECK, or a list in its comment.
    """

    name: str
    type: str = ""
    kind: Kind = "unknown"
    is_nullable: bool = True
    comment: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` hold the key `references` of `table`; not declared ones were inferred from names and types."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    is_declared: bool = True


@dataclass(frozen=True)
class Table:
    """A table or view. `unique` and `indexes` are column lists; the primary key is in neither."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    comment: str = ""

    def column(self, name: str) -> Column | None:
        """By name, whatever its case."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name.lower(): column for column in self.columns}


@dataclass(frozen=True)
class Schema:
    """The tables, in the order they were given."""

    tables: tuple[Table, ...]

    def __hash__(self) -> int:
        """By some names only: caches ask for it at every look."""
        return hash((len(self.tables), *(table.name for table in self.tables[:8])))

    def table(self, name: str) -> Table | None:
        """By name, whatever its case."""
        return self._by_name.get(name.lower())

    def tables_with(self, column: str) -> Sequence[Table]:
        """The tables that have a column of this name, whatever its case."""
        return self._by_column.get(column.lower(), ())

    @cached_property
    def _by_name(self) -> Mapping[str, Table]:
        return {table.name.lower(): table for table in self.tables}

    @cached_property
    def _by_column(self) -> Mapping[str, Sequence[Table]]:
        tables: dict[str, list[Table]] = {}
        for table in self.tables:
            for column in table.columns:
                tables.setdefault(column.name.lower(), []).append(table)
        return tables
