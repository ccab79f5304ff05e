"""Indexes that a statement would be cheaper with: equality first, then a range, then what it sorts by.

An index is named only where the statement takes fewer steps on a copy that has it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from aiservice.sqlassist.optimize.ground import Ground, conjuncts, where_of
from aiservice.sqlassist.optimize.proof import Prover
from aiservice.sqlassist.schema import Table

COLUMNS_MAX = 3
TRIED_MAX = 3
GAIN = 0.1
NAME_CHARACTERS_MAX = 60
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    """ALL ALTER AND AS ASC BETWEEN BY CASE CHECK COLUMN CONSTRAINT CREATE CROSS DEFAULT DELETE DESC DISTINCT DROP ELSE
    END EXISTS FOR FOREIGN FROM FULL GRANT GROUP HAVING IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY LEFT LIKE LIMIT
    NATURAL NOT NULL OFFSET ON OR ORDER OUTER PRIMARY REFERENCES RIGHT SELECT SET TABLE THEN TO UNION UNIQUE UPDATE USER
    USING VALUES WHEN WHERE WINDOW WITH""".split()  # noqa: SIM905
)
_RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.Like)


@dataclass(slots=True)
class Wanted:
    """What a statement asks of one table's columns, in order of appearance."""

    table: Table
    equal: dict[str, None] = field(default_factory=dict)
    joined: dict[str, None] = field(default_factory=dict)
    ranged: dict[str, None] = field(default_factory=dict)
    sorted: dict[str, None] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        first = [*self.equal, *(name for name in self.joined if name not in self.equal)]
        rest = [name for name in (*self.ranged, *self.sorted) if name not in first]
        return tuple([*first[:COLUMNS_MAX], *rest[:1]][:COLUMNS_MAX])


def indexes_for(statement: exp.Expr, prover: Prover) -> Iterator[str]:
    """CREATE INDEX statements, at most three."""
    candidates = [(one.table, one.columns) for one in _wanted(statement, prover) if one.columns]
    candidates = [(table, columns) for table, columns in candidates if not is_covered(table, columns)][:TRIED_MAX]
    if not candidates:
        return
    before = prover.steps(statement)
    for table, columns in candidates if before is not None else ():
        prover.add_index(table.name, columns)
        after = prover.steps(statement)
        if before is not None and after is not None and after < before * (1 - GAIN):
            before = after
            yield create_index(table, columns, prover.dialect)


def is_covered(table: Table, columns: Sequence[str]) -> bool:
    """Whether the table has an index that begins with these columns already, or a key within them."""
    lower = [name.lower() for name in columns]
    for index in (table.primary_key, *table.unique, *table.indexes):
        have = [name.lower() for name in index]
        if have and have[: len(lower)] == lower:
            return True
    keys = (table.primary_key, *table.unique)
    return any(key and [name.lower() for name in key] == lower[: len(key)] for key in keys)


def create_index(table: Table, columns: Sequence[str], dialect: str) -> str:
    """In the dialect's quoting; its name is made of the table's and the columns'."""
    name = "_".join([*table.name.split("."), *columns, "idx"])[:NAME_CHARACTERS_MAX]
    target = exp.Table(**dict(zip(("this", "db"), map(_identifier, reversed(table.name.split(".", 1))), strict=False)))
    listed = ", ".join(_identifier(column).sql(dialect=dialect) for column in columns)
    return f"CREATE INDEX {_identifier(name).sql(dialect=dialect)} ON {target.sql(dialect=dialect)} ({listed})"


def _identifier(name: str) -> exp.Identifier:
    """Quoted where it is no plain name; a plain one stays as it is, for quotes would make its capitals count."""
    return exp.to_identifier(name, quoted=not _PLAIN.fullmatch(name) or name.upper() in _RESERVED)


def _wanted(statement: exp.Expr, prover: Prover) -> list[Wanted]:
    ground = Ground(statement, prover.schema, prover.dialect)
    wanted: dict[str, Wanted] = {}
    for select in ground.selects():
        parts = conjuncts(where_of(select))
        parts += [part for join in select.args.get("joins") or () for part in conjuncts(join.args.get("on"))]
        for part in parts:
            _note(part, ground, wanted)
        order = select.args.get("order")
        for ordered in order.expressions if isinstance(order, exp.Order) and select.args.get("limit") else ():
            _add(ordered.this, "sorted", ground, wanted=wanted)
    return list(wanted.values())


def _note(part: exp.Expr, ground: Ground, wanted: dict[str, Wanted]) -> None:
    if isinstance(part, exp.EQ) and isinstance(part.this, exp.Column) and isinstance(part.expression, exp.Column):
        _add(part.this, "joined", ground, wanted=wanted)
        _add(part.expression, "joined", ground, wanted=wanted)
    elif isinstance(part, exp.EQ | exp.In):
        for side in (part.this, part.args.get("expression")):
            _add(side, "equal", ground, wanted=wanted)
    elif isinstance(part, _RANGES):
        pattern = part.args.get("expression")
        is_wild = isinstance(part, exp.Like) and (pattern is None or pattern.name.startswith(("%", "_")))
        for side in (part.this, pattern) if not is_wild else ():
            _add(side, "ranged", ground, wanted=wanted)


def _add(node: exp.Expr | None, role: str, ground: Ground, *, wanted: dict[str, Wanted]) -> None:
    found = ground.column(node)
    if found is not None:
        table, column = found
        getattr(wanted.setdefault(table.name, Wanted(table)), role)[column.name] = None
