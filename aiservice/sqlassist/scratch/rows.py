"""Makes rows: seeded, so that the same statements meet the same rows again."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table
from aiservice.sqlassist.scratch.cells import CellMaker
from aiservice.sqlassist.scratch.constants import Constant, Constants

ROWS = 40
TRIES = 4
NULL_SHARE = 0.12
# Rows in which every constant is met exactly, so that conditions joined by AND are met together now and then.
EAGER_SHARE = 0.25
# Large copies have several rows of a table for each that it points at, as databases do.
FEW_FROM = 100
FEW_PART = 4
Cells = dict[str, Any]
_Planted = tuple[Column, str, Sequence[Constant]]


class RowMaker:
    """Rows for the tables of a schema, those that others point at first."""

    def __init__(self, schema: Schema, constants: Constants, *, seed: int, rows: int = ROWS) -> None:
        self._schema = schema
        self._constants = constants
        self._chance = random.Random(seed)
        self._rows = rows
        self._cells = CellMaker(self._chance, datetime.now(UTC).date())
        self.made: dict[str, list[tuple[Any, ...]]] = {}

    def make(self, names: Sequence[str]) -> Mapping[str, list[tuple[Any, ...]]]:
        tables = [table for name in self._ordered(names) if (table := self._schema.table(name)) is not None]
        pointed = {key.table.lower() for table in tables for key in table.foreign_keys}
        for table in tables:
            is_few = self._rows > FEW_FROM and not table.foreign_keys and table.name.lower() in pointed
            self._fill(table, self._rows // FEW_PART if is_few else self._rows)
        return self.made

    def _ordered(self, names: Sequence[str]) -> list[str]:
        """Those without keys to others first; a ring is cut where it begins."""
        ordered: dict[str, None] = {}
        wanted = {name.lower() for name in names}

        def visit(name: str, path: frozenset[str]) -> None:
            table = self._schema.table(name)
            if table is None or table.name in ordered or table.name.lower() in path:
                return
            for key in table.foreign_keys:
                if key.table.lower() in wanted:
                    visit(key.table, path | {table.name.lower()})
            ordered[table.name] = None

        for name in names:
            visit(name, frozenset())
        return list(ordered)

    def _fill(self, table: Table, count: int) -> None:
        """Up to this number of rows: fewer where unique columns leave no more."""
        rows = self.made.setdefault(table.name, [])
        uniques = [tuple(map(str.lower, one)) for one in (table.primary_key, *table.unique) if one]
        taken: list[set[tuple[Any, ...]]] = [set() for _ in uniques]
        borrows = [borrow for key in table.foreign_keys if (borrow := self._borrow(table, key)) is not None]
        columns = [(one, one.name.lower(), self._constants.get((table.name.lower(), one.name.lower()), ()))
                   for one in table.columns]  # fmt: skip
        for number in range(count):
            for attempt in range(TRIES):
                row = self._row(table, columns, borrows, number=number)
                if attempt == TRIES - 1:
                    self._part(table, row, number)
                keys = [tuple(row[name] for name in unique) for unique in uniques]
                if all(None in key or key not in seen for key, seen in zip(keys, taken, strict=True)):
                    for key, seen in zip(keys, taken, strict=True):
                        seen.add(key)
                    rows.append(tuple(row[name] for _, name, _ in columns))
                    break

    def _row(self, table: Table, columns: Sequence[_Planted], borrows: Sequence["_Borrow"], *, number: int) -> Cells:
        is_eager = self._chance.random() < EAGER_SHARE
        row: Cells = {}
        for borrow in borrows:
            row |= borrow.cells(self._chance, is_eager=is_eager)
        identity = table.primary_key[0].lower() if len(table.primary_key) == 1 else None
        for column, name, planted in columns:
            if name in row:
                continue
            if name == identity:
                row[name] = self._cells.identity(column, number, planted)
            else:
                row[name] = self._cell(column, planted, is_eager=is_eager)
        return row

    def _cell(self, column: Column, planted: Sequence[Constant], *, is_eager: bool) -> Any:
        if is_eager and planted:
            return self._cells.meeting(self._chance.choice(planted), column)
        if column.is_nullable and self._chance.random() < NULL_SHARE:
            return None
        return self._cells.cell(column, planted)

    def _part(self, table: Table, row: Cells, number: int) -> None:
        """Makes a row that was there before differ where each unique list of columns has one that nothing borrows."""
        borrowed = {name.lower() for key in table.foreign_keys for name in key.columns}
        for unique in table.unique:
            free = [name for name in unique if name.lower() not in borrowed]
            column = table.column(free[-1]) if free else None
            if column is not None:
                row[column.name.lower()] = self._cells.identity(column, number, ())

    def _borrow(self, table: Table, key: ForeignKey) -> "_Borrow | None":
        """None where the key's table has no rows, or does not have its columns."""
        target = self._schema.table(key.table)
        if target is None or len(key.references) != len(key.columns):
            return None
        places = {column.name.lower(): index for index, column in enumerate(target.columns)}
        columns = [table.column(name) for name in key.columns]
        rows = self.made.get(target.name)
        if rows is None or any(name.lower() not in places for name in key.references) or None in columns:
            return None
        names = tuple(name.lower() for name in key.columns)
        is_nullable = all(column is not None and column.is_nullable for column in columns)
        return _Borrow(names, tuple(places[name.lower()] for name in key.references), rows, is_nullable=is_nullable)


class _Borrow:
    """Takes the key of a row that is there: of some rows often, of a third of them never."""

    def __init__(
        self, names: tuple[str, ...], places: tuple[int, ...], rows: list[tuple[Any, ...]], *, is_nullable: bool
    ) -> None:
        self._names, self._places, self._rows, self._is_nullable = names, places, rows, is_nullable

    def cells(self, chance: random.Random, *, is_eager: bool) -> Cells:
        if self._is_nullable and (not self._rows or (not is_eager and chance.random() < NULL_SHARE)):
            return dict.fromkeys(self._names)
        if not self._rows:
            return {}
        count = max(1, len(self._rows) * 2 // 3)
        row = self._rows[int(count * chance.random() ** 1.5)]
        return {name: row[place] for name, place in zip(self._names, self._places, strict=True)}
