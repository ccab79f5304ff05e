"""Makes rows: seeded, so that the same statements meet the same rows again."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table
from aiservice.sqlassist.scratch.constants import Constants

ROWS = 40
NULL_SHARE = 0.12
PLANTED_SHARE = 0.45
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "iris", "juniper", "kite", "lotus")


class RowMaker:
    """Rows for the tables of a schema, those that others point at first."""

    def __init__(self, schema: Schema, constants: Constants, *, seed: int, rows: int = ROWS) -> None:
        self._schema = schema
        self._constants = constants
        self._chance = random.Random(seed)
        self._rows = rows
        self._today = datetime.now(UTC).date()
        self.made: dict[str, list[tuple[Any, ...]]] = {}

    def make(self, names: Sequence[str]) -> Mapping[str, list[tuple[Any, ...]]]:
        for name in self._ordered(names):
            table = self._schema.table(name)
            if table is not None:
                self.made[table.name] = self._table(table)
        return self.made

    def _ordered(self, names: Sequence[str]) -> list[str]:
        """Those without keys to others first; a ring is cut where it begins."""
        ordered: dict[str, None] = {}
        wanted = {name.lower() for name in names}

        def visit(name: str, path: frozenset[str]) -> None:
            table = self._schema.table(name)
            if table is None or name in ordered or name.lower() in path:
                return
            for key in table.foreign_keys:
                if key.table.lower() in wanted:
                    visit(key.table, path | {name.lower()})
            ordered[name] = None

        for name in names:
            visit(name, frozenset())
        return list(ordered)

    def _table(self, table: Table) -> list[tuple[Any, ...]]:
        uniques = [tuple(map(str.lower, one)) for one in (table.primary_key, *table.unique) if one]
        taken: dict[tuple[str, ...], set[tuple[Any, ...]]] = {one: set() for one in uniques}
        rows = []
        for number in range(self._rows):
            for _ in range(4):
                row = self._row(table, number)
                keys = {one: tuple(row[name] for name in one) for one in uniques}
                if all(values not in taken[one] for one, values in keys.items()):
                    for one, values in keys.items():
                        taken[one].add(values)
                    rows.append(tuple(row[column.name.lower()] for column in table.columns))
                    break
        return rows

    def _row(self, table: Table, number: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for key in table.foreign_keys:
            row |= self._borrowed(table, key)
        identity = table.primary_key[0].lower() if len(table.primary_key) == 1 else None
        for column in table.columns:
            name = column.name.lower()
            if name == identity and name not in row:
                row[name] = self._identity(table, column, number)
            elif name not in row:
                row[name] = self._cell(table, column)
        return row

    def _borrowed(self, table: Table, key: ForeignKey) -> dict[str, Any]:
        """The key of a row that is there; sometimes NULL, and of an undeclared key sometimes nobody's."""
        target = self._schema.table(key.table)
        rows = self.made.get(key.table, [])
        if target is None or not rows or len(key.references) != len(key.columns):
            return {}
        places = {column.name.lower(): index for index, column in enumerate(target.columns)}
        if any(name.lower() not in places for name in key.references):
            return {}
        is_nullable = all((column := table.column(name)) is not None and column.is_nullable for name in key.columns)
        if is_nullable and self._chance.random() < NULL_SHARE:
            return {name.lower(): None for name in key.columns}
        row = self._chance.choice(rows[: max(1, len(rows) * 2 // 3)])
        return {
            name.lower(): row[places[other.lower()]] for name, other in zip(key.columns, key.references, strict=True)
        }

    def _identity(self, table: Table, column: Column, number: int) -> Any:
        planted = self._constants.get((table.name.lower(), column.name.lower()), ())
        if number < len(planted):
            return planted[number]
        return f"k{number:04}" if column.kind == "text" else number + 1

    def _cell(self, table: Table, column: Column) -> Any:
        if column.is_nullable and self._chance.random() < NULL_SHARE:
            return None
        planted = self._constants.get((table.name.lower(), column.name.lower()), ())
        if planted and self._chance.random() < PLANTED_SHARE:
            return self._near(self._chance.choice(planted), column)
        if column.values and self._chance.random() < 0.9:
            return self._chance.choice(column.values)
        return self._plain(column)

    def _near(self, value: str | float, column: Column) -> Any:
        """The constant, or what only just is not it."""
        turn = self._chance.random()
        if isinstance(value, str):
            if column.kind in ("date", "datetime") and len(value) >= 10:
                return self._near_date(value, turn)
            if turn < 0.7:
                return value
            return self._chance.choice((value.upper(), value[:-1], f"{value}x", f"x{value}", value.swapcase()))
        return value if turn < 0.6 else value + self._chance.choice((-1, 1))

    def _near_date(self, value: str, turn: float) -> str:
        try:
            moment = date.fromisoformat(value[:10])
        except ValueError:
            return value
        if turn > 0.6:
            moment += timedelta(days=self._chance.choice((-1, 1, -31, 31)))
        return moment.isoformat() + (value[10:] if turn < 0.8 else "")

    def _plain(self, column: Column) -> Any:
        chance = self._chance
        match column.kind:
            case "integer":
                return chance.choice((0, -1, chance.randint(1, 12), chance.randint(1, 100)))
            case "real":
                return chance.choice((0.0, -1.5, round(chance.uniform(0, 100), 2)))
            case "boolean":
                return chance.randint(0, 1)
            case "date":
                return (self._today - timedelta(days=chance.choice((0, 1, 5, 20, 40, 200, 800)))).isoformat()
            case "datetime":
                day = self._today - timedelta(days=chance.choice((0, 1, 5, 20, 40, 200, 800)))
                return f"{day.isoformat()} {chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00"
            case "time":
                return f"{chance.randint(0, 23):02}:30:00"
            case "json":
                return "{}"
            case "binary":
                return b"\x00"
            case _:
                return chance.choice((*_WORDS, "", *_WORDS[:3]))
