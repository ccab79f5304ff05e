"""Whether a rewrite gives the same rows on made data, and what it costs."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlglot import exp

from aiservice.sqlassist.live import Live
from aiservice.sqlassist.runner import Rows, RunFailed
from aiservice.sqlassist.schema import Schema
from aiservice.sqlassist.scratch import Scratch, open_scratch

# Seeds and rows of the copies that results are compared on: ordinary ones, a nearly empty one, an empty one.
COPIES = ((11, 40), (12, 40), (13, 25), (14, 2), (15, 0))
# The copies that costs are measured on; the next where a statement takes too long on one.
LARGE = ((21, 400), (22, 80))
SECOND = (23, 150)
RUN_S = 0.25
COMPARED_MAX = 20_000
STEPS_PER_CALL = 20
# A rewrite has to be cheaper by this part at least: below it is chance.
GAIN = 0.02
DIGITS = 6
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """In `unit`; `text` is the plan in the database's own words."""

    unit: str
    cost: float
    text: str


@dataclass
class Prover:
    """Copies of the schema filled for one statement; rewrites of it are held against it."""

    schema: Schema
    dialect: str
    statement: exp.Expr
    stack: ExitStack
    live: Live | None = None
    _width: int = 0
    _wanted: dict[int, Rows] = field(default_factory=dict)

    def runs(self) -> str | None:
        """Why the statement itself does not run on a copy where its cost is counted; None where it does."""
        try:
            first = self._copies[0].run(self.statement, rows_max=COMPARED_MAX, seconds=RUN_S)
        except RunFailed as error:
            return error.reason
        self._width = len(first.columns)
        is_counted = first.steps is not None or self.live is not None
        return None if is_counted else "SQLite, which counts the cost, has no words for it"

    def is_equal(self, rewrite: exp.Expr) -> bool:
        """The same rows on every copy, in the same order where the statement has one."""
        is_listed = _is_listed(self.statement)
        try:
            for number, copy in enumerate(self._copies):
                wanted = self._result(number, is_listed)
                found = copy.run(self._comparable(rewrite, is_listed), rows_max=COMPARED_MAX, seconds=RUN_S)
                if wanted.is_truncated or found.is_truncated or not _same(wanted, found, is_listed):
                    return False
        except RunFailed:
            return False
        return True

    def cost(self, statement: exp.Expr) -> Cost | None:
        """By the database's plan where there is one, else by SQLite's steps on a larger copy; None where it failed."""
        try:
            if self.live is not None:
                plan = self.live.plan(statement)
                return Cost(str(plan["unit"]), float(plan["cost"]), str(plan["text"]))
            copy = self._large
            steps = copy.run(statement, rows_max=COMPARED_MAX, seconds=RUN_S).steps if copy is not None else None
            return None if copy is None or steps is None else Cost("sqlite_steps", steps, copy.plan(statement))
        except RunFailed:
            return None

    def steps(self, statement: exp.Expr) -> int | None:
        """What a statement costs in SQLite's steps on the large copy."""
        try:
            return (
                None if self._large is None else self._large.run(statement, rows_max=COMPARED_MAX, seconds=RUN_S).steps
            )
        except RunFailed:
            return None

    def add_index(self, table: str, columns: Sequence[str]) -> None:
        """Puts an index on the large copy, where it stays."""
        if self._large is not None:
            self._large.add_index(table, columns)

    def is_cheaper_again(self, statement: exp.Expr, rewrite: exp.Expr) -> bool:
        """Whether a rewrite is no dearer on other rows either: SQLite's plan depends on them."""
        if self.live is not None:
            return True
        try:
            steps = [self._second.run(one, rows_max=COMPARED_MAX, seconds=RUN_S).steps for one in (statement, rewrite)]
        except RunFailed:
            return False
        return steps[0] is not None and steps[1] is not None and steps[1] <= steps[0]

    @cached_property
    def _copies(self) -> Sequence[Scratch]:
        return [self._open(seed, rows) for seed, rows in COPIES]

    @cached_property
    def _large(self) -> Scratch | None:
        for seed, rows in LARGE:
            copy = self._open(seed, rows)
            try:
                copy.run(self.statement, rows_max=COMPARED_MAX, seconds=RUN_S)
            except RunFailed:
                continue
            return copy
        return None

    @cached_property
    def _second(self) -> Scratch:
        return self._open(*SECOND)

    def _open(self, seed: int, rows: int) -> Scratch:
        opened = open_scratch(
            self.schema,
            self.dialect,
            statements=(self.statement,),
            seed=seed,
            rows=rows,
            steps_per_call=STEPS_PER_CALL if rows > max(size for _, size in COPIES) else 1_000,
        )
        return self.stack.enter_context(opened)

    def _result(self, number: int, is_listed: bool) -> Rows:
        if number not in self._wanted:
            comparable = self._comparable(self.statement, is_listed)
            self._wanted[number] = self._copies[number].run(comparable, rows_max=COMPARED_MAX, seconds=RUN_S)
        return self._wanted[number]

    def _comparable(self, statement: exp.Expr, is_listed: bool) -> exp.Expr:
        """With ties broken by every column, for which of equal rows comes first is nobody's promise."""
        if not is_listed:
            return statement
        whole = statement.copy()
        order = whole.args.get("order")
        given = list(order.expressions) if isinstance(order, exp.Order) else []
        places = [exp.Ordered(this=exp.convert(place)) for place in range(1, self._width + 1)]
        whole.set("order", exp.Order(expressions=[*given, *places]))
        return whole


def _is_listed(statement: exp.Expr) -> bool:
    """Whether order matters: it is asked for, or a limit depends on it."""
    return any(statement.args.get(name) for name in ("order", "limit", "offset", "fetch"))


def _same(wanted: Rows, found: Rows, is_listed: bool) -> bool:
    if len(wanted.columns) != len(found.columns):
        return False
    left, right = [_plain(row) for row in wanted.rows], [_plain(row) for row in found.rows]
    return left == right if is_listed else Counter(left) == Counter(right)


def _plain(row: _Row) -> _Row:
    """Sums of the same numbers in another order differ in their last digits."""
    return tuple(round(value, DIGITS) if isinstance(value, float) else value for value in row)
