"""What a worker hands to the machine, and what it gets back. No SQL library is loaded for these."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from aiservice.core.errors import FieldInvalid

Action = Literal["generate", "explain", "optimize", "fix"]
# How an answer was proven: it parses in its dialect, its names are in the schema, it ran, its rows are those of the
# statement it replaces, its plan is cheaper than that one's.
Verification = Literal["parsed", "resolved", "executed", "equal_results", "cheaper_plan"]
RefusalCode = Literal["unanswerable", "ambiguous", "no_schema", "not_repairable", "no_improvement", "unreadable"]


# sqlglot's names, which workers know without loading it.
DIALECTS = (
    "athena", "bigquery", "clickhouse", "databricks", "doris", "dremio", "drill", "druid", "duckdb", "dune", "exasol",
    "fabric", "hive", "materialize", "mysql", "oracle", "postgres", "presto", "redshift", "risingwave",
    "snowflake", "spark", "spark2", "sqlite", "starrocks", "tableau", "teradata", "trino", "tsql",
)  # fmt: skip
_OTHER_NAMES: Mapping[str, str] = {
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
    "sqlserver": "tsql",
    "sqlite3": "sqlite",
}


def dialect_named(name: str) -> str:
    """The dialect of this name, or another name of it; raises `FieldInvalid` with the names that there are."""
    lower = name.strip().lower()
    dialect = _OTHER_NAMES.get(lower, lower)
    if dialect not in DIALECTS:
        raise FieldInvalid(f"dialect {name!r} is unknown; it takes {', '.join(DIALECTS)}.", param="dialect")
    return dialect


class Target(msgspec.Struct, frozen=True):
    """A registered database. The address has its password, so that it goes no further than the sandbox."""

    name: str
    url: str

    @property
    def dialect(self) -> str:
        """What the database speaks, by the scheme of its address."""
        return dialect_named(self.url.partition("://")[0])

    def __repr__(self) -> str:
        return f"Target({self.name!r})"


class Task(msgspec.Struct, frozen=True):
    """One request: `query` is a question for generate and a statement for the other actions.

    `schema` is DDL or a plain list of tables; `error` and `question` help fix; `context` has definitions and hints
    about the data. `proposals` are statements that a model wrote for the brief of this task. `database` is opened
    read-only. The whole is answered within `deadline_s` seconds.
    """

    action: Action
    query: str
    dialect: str = "postgres"
    schema: str | None = None
    database: Target | None = None
    error: str | None = None
    question: str | None = None
    context: str | None = None
    proposals: tuple[str, ...] = ()
    deadline_s: float = 10.0


class Brief(msgspec.Struct, frozen=True):
    """What to ask of a capable model, `count` times; its answers come back as a task's `proposals`."""

    system: str
    user: str
    count: int


class Facts(msgspec.Struct, frozen=True):
    """What a statement says, from its syntax tree: names as the schema spells them, each once, as they appear.

    `aggregates` are function names in lower case, `values` the constants as text, `order` is the first
    direction of the outermost ORDER BY, `limit` the outermost one, `set_ops` union, intersect and except.
    """

    tables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    order: Literal["asc", "desc"] | None = None
    limit: int | None = None
    set_ops: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """A statement in words, a sentence a line, and the facts that the words have to name."""

    text: str
    facts: Facts


class Change(msgspec.Struct, frozen=True):
    """One step from the given statement to the answered one: the rule's name, the text before and after, and why."""

    rule: str
    before: str
    after: str
    why: str


class Alternative(msgspec.Struct, frozen=True):
    """Another statement that may be what was meant; `confidence` 0..1."""

    sql: str
    confidence: float


class Plan(msgspec.Struct, frozen=True):
    """What the statements cost: `{"unit", "cost", "text"}`, unit `postgres_cost` or `sqlite_steps`."""

    before: dict[str, Any]
    after: dict[str, Any] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no SQL: `missing` are the question's words, or the names, that nothing in the schema is."""

    code: RefusalCode
    reason: str
    missing: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What the machine found. `sql` is None where `refused` says why; `confidence` 0..1 is calibrated.

    `is_verified` says that the answer is held to be right, not only valid; `verified_by` says what was seen.
    """

    action: Action
    dialect: str
    sql: str | None
    confidence: float
    is_verified: bool
    verified_by: tuple[Verification, ...] = ()
    explanation: Explanation = Explanation("", Facts())
    changes: tuple[Change, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    warnings: tuple[str, ...] = ()
    plan: Plan | None = None
    indexes: tuple[str, ...] = ()
    refused: Refusal | None = None


class Query(msgspec.Struct, frozen=True):
    """One statement to run on a registered database, read-only, for at most `rows_max` rows."""

    database: Target
    sql: str
    rows_max: int = 200
    deadline_s: float = 10.0


class GridColumn(msgspec.Struct, frozen=True):
    """A column of a result: its type as the database names it, empty where it does not."""

    name: str
    type: str


class Grid(msgspec.Struct, frozen=True):
    """A result: cells are numbers, text, booleans or None; other values as text. `time_ms` is the database's part."""

    columns: tuple[GridColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_truncated: bool
    time_ms: int
