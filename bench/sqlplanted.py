"""Statements with a planted anti-pattern, and TPC-H: whether optimize makes them cheaper and leaves their rows alone.

What is checked with is made here, with other seeds and other numbers of rows than those that optimize looks at.
"""

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sqlcases import Data, Score, tried
from sqlglot import exp
from sqltpch import TPCH

from aiservice.sqlassist import gate
from aiservice.sqlassist.model import Task
from aiservice.sqlassist.runner import Rows, RunFailed
from aiservice.sqlassist.schema import Schema, read_schema
from aiservice.sqlassist.scratch import open_scratch

FILE = Path(__file__).resolve().parent / "sql_antipatterns.jsonl"
EQUAL_SEEDS = ((101, 60), (102, 60), (103, 35), (104, 3), (105, 0))
COST_SEEDS = ((111, 500), (112, 300))
ROWS_MAX = 50_000
RUN_S = 5.0
DEARER = 1.02


def rows(data: Data) -> list[dict[str, Any]]:
    """The planted ones, and those of the data folder."""
    found = [dict(row, dialect="postgres", schema="tpc-h", kind="tpc-h") for row in data.rows("optimize")]
    return [*[row for row in _planted() if "sql" in row], *found]


@cache
def _planted() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


@cache
def ddl(name: str) -> str:
    return (
        TPCH if name == "tpc-h" else "\n".join(next(r["ddl"] for r in _planted() if "ddl" in r and r["schema"] == name))
    )


def optimized(_data: Data, row: Mapping[str, Any]) -> Score:
    """Right is cheaper with the same rows, refused is no improvement, wrong is other rows or a dearer plan."""
    text, dialect = ddl(row["schema"]), row["dialect"]
    answer, words, ms = tried(Task("optimize", row["sql"], dialect, schema=text))
    kind = row["kind"] if row["kind"] == "tpc-h" else "planted"
    if answer is None or answer.sql is None:
        return Score(row["id"], kind, "broken", ms, words or str(answer and answer.refused))
    rules = ", ".join(change.rule for change in answer.changes)
    if not answer.changes:
        return Score(row["id"], kind, "refused", ms, f"{row['kind']}: {answer.warnings}", row["sql"])
    before, after = gate.read_one(row["sql"], dialect), gate.read_one(answer.sql, dialect)
    schema = read_schema(text, dialect)
    is_equal, is_dearer = _is_equal(schema, dialect, before, after), _is_dearer(schema, dialect, before, after)
    counts = {"other": int(not is_equal), "dearer": int(is_dearer)}
    note = f"{row['kind']} by {rules}: {counts}"
    return Score(row["id"], kind, "wrong" if any(counts.values()) else "right", ms, note, answer.sql, counts=counts)


def _is_equal(schema: Schema, dialect: str, before: exp.Expr, after: exp.Expr) -> bool:
    for seed, size in EQUAL_SEEDS:
        with open_scratch(schema, dialect, statements=(before, after), seed=seed, rows=size) as copy:
            try:
                width = len(copy.run(before, rows_max=ROWS_MAX, seconds=RUN_S).columns)
                wanted, found = (
                    copy.run(_total_order(one, width), rows_max=ROWS_MAX, seconds=RUN_S) for one in (before, after)
                )
            except RunFailed:
                return False
            if _cells(wanted) != _cells(found) if before.args.get("order") else _bag(wanted) != _bag(found):
                return False
    return True


def _total_order(statement: exp.Expr, width: int) -> exp.Expr:
    """Ties of an ORDER BY, of which either may come first, are broken by all columns."""
    order = statement.args.get("order")
    if order is None:
        return statement
    whole = statement.copy()
    whole.args["order"].set("expressions", [*order.expressions, *(exp.convert(place + 1) for place in range(width))])
    return whole


def _cells(rows: Rows) -> list[tuple[Any, ...]]:
    return [tuple(round(cell, 4) if isinstance(cell, float) else cell for cell in row) for row in rows.rows]


def _bag(rows: Rows) -> Counter[tuple[Any, ...]]:
    return Counter(_cells(rows))


def _is_dearer(schema: Schema, dialect: str, before: exp.Expr, after: exp.Expr) -> bool:
    totals = [0, 0]
    for seed, size in COST_SEEDS:
        with open_scratch(schema, dialect, statements=(before,), seed=seed, rows=size, steps_per_call=20) as copy:
            for place, statement in enumerate((before, after)):
                totals[place] += copy.run(statement, rows_max=ROWS_MAX, seconds=RUN_S).steps or 0
    return totals[1] > totals[0] * DEARER
