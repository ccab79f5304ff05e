"""The statement gate: what is one statement that only reads, told from its syntax tree.

It is one layer of several: whatever it lets through runs on connections that cannot write either. A function is let
through when sqlglot knows it (those are of the standard or of a dialect, and have no effect) or when it is on the list
of harmless ones; any other name may be somebody's own function that writes, and so may a table function.
"""

import logging
import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist.functions import DANGEROUS, HARMLESS, ROW_MAKERS

# It logs the text of statements that it cannot read whole, and those are nobody's but the caller's.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

# What sqlglot raises, beside its own errors, on some texts that are no SQL: `{a: b, :}` and the like.
STUMBLES = (AttributeError, LookupError, TypeError, ValueError)
UNREADABLE = (SqlglotError, RecursionError, *STUMBLES)
STATEMENT_CHARACTERS_MAX = 100_000
DEPTH_MAX = 150
_USING = re.compile(
    r"\busing\s*(?:(?P<operator><=?|>=?)(?=\s|,|;|\)|$)|operator\s*\(\s*(?:\w+\s*\.\s*)?(?P<named><=?|>=?)\s*\))",
    re.IGNORECASE,
)
_RUN_COMMENT = re.compile(r"/\*M?!")
# Whoever may read these reads passwords.
_SECRET = frozenset(
    {"pg_shadow", "pg_authid", "pg_user_mapping", "pg_user_mappings", "pg_largeobject", "pg_hba_file_rules"}
)
_SECRET_SCHEMAS = frozenset({"mysql", "performance_schema", "sys"})
_READS = (exp.Query, exp.Values)
_WRITES = (
    exp.DDL,
    exp.DML,
    exp.Command,
    exp.Into,
    exp.Copy,
    exp.Set,
    exp.Use,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Alter,
    exp.Drop,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Kill,
    exp.Grant,
    exp.Analyze,
    exp.TruncateTable,
    exp.LoadData,
    exp.Merge,
    exp.Export,
    exp.Install,
)
_DANGEROUS_NODES = tuple(
    getattr(exp, name) for name in ("ReadCSV", "ReadParquet", "NextValueFor", "Sleep") if hasattr(exp, name)
)


def read_one(sql: str, dialect: str) -> exp.Expr:
    """The one statement of a text, parsed; raises `StatementRefused` for none, for more, and for what is no SQL."""
    statements = parse(sql, dialect)
    if not statements:
        raise StatementRefused("The query is empty; send one SQL statement.", param="query")
    if len(statements) > 1:
        raise StatementRefused(f"The query has {len(statements)} statements; send one at a time.", param="query")
    return statements[0]


def parse(sql: str, dialect: str) -> list[exp.Expr]:
    """All statements of a text; raises `StatementRefused` with line and column of what could not be read."""
    if len(sql) > STATEMENT_CHARACTERS_MAX:
        raise StatementRefused(
            f"The query has {len(sql):,} characters; {STATEMENT_CHARACTERS_MAX:,} are the most.", param="query"
        )
    if depth(sql) > DEPTH_MAX:
        raise StatementRefused(f"The query is nested more than {DEPTH_MAX} deep.", param="query")
    if _RUN_COMMENT.search(sql):
        raise StatementRefused("The query has a comment that MySQL runs (/*! ... */); leave it out.", param="query")
    try:
        found = _parsed(sql, dialect)
    except SqlglotError as error:
        raise StatementRefused(f"The query could not be read as {dialect}: {said(error)}", param="query") from None
    except RecursionError:
        raise StatementRefused("The query is nested too deeply.", param="query") from None
    except STUMBLES:
        raise StatementRefused(f"The query could not be read as {dialect}.", param="query") from None
    return [statement for statement in found if statement is not None and not isinstance(statement, exp.Semicolon)]


def _parsed(sql: str, dialect: str) -> list[exp.Expr | None]:
    """PostgreSQL sorts by an operator too, which sqlglot does not read: `ORDER BY a USING >` is DESC."""
    try:
        return sqlglot.parse(sql, read=dialect)
    except SqlglotError:
        if dialect != "postgres" or not _USING.search(sql):
            raise
        spelled = _USING.sub(lambda match: "ASC" if "<" in match[0] else "DESC", sql)
        return sqlglot.parse(spelled, read=dialect)


def said(error: SqlglotError) -> str:
    """What a parser's error says, without its colours: `line 1, column 8: Expecting )`."""
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0][:200]
    first = details[0]
    place = f"line {first.get('line')}, column {first.get('col')}: " if first.get("line") else ""
    return f"{place}{first.get('description', '')} near {str(first.get('highlight', ''))[:40]!r}"


def depth(sql: str) -> int:
    """How deep brackets are nested, roughly: strings are not told apart."""
    deepest = level = 0
    for character in sql:
        if character in "([":
            level += 1
            deepest = max(deepest, level)
        elif character in ")]":
            level -= 1
    return deepest


def bare(statement: exp.Expr, dialect: str) -> str:
    """A statement's text without comments and hints, as it may be sent to a database."""
    plain = statement.copy()
    for hint in list(plain.find_all(exp.Hint)):
        hint.pop()
    return plain.sql(dialect=dialect, comments=False)


def ensure_read(statement: exp.Expr) -> None:
    """Raises `StatementRefused` with the reason unless the statement only reads."""
    reason = objection(statement)
    if reason is not None:
        raise StatementRefused(reason, param="query")


def objection(statement: exp.Expr) -> str | None:
    """Why a statement is more than a read; None for one that only reads."""
    if not isinstance(_bare(statement), _READS):
        return f"Only queries may be run; this is {_kind(statement)}."
    for node in statement.walk():
        reason = _objection_to(node)
        if reason is not None:
            return reason
    return None


def _bare(statement: exp.Expr) -> exp.Expr:
    while isinstance(statement, exp.Paren | exp.Subquery) and isinstance(statement.this, exp.Expr):
        statement = statement.this
    return statement


def _kind(statement: exp.Expr) -> str:
    name = statement.this if isinstance(statement, exp.Command) and isinstance(statement.this, str) else statement.key
    return f"{str(name).upper()}"


def _objection_to(node: exp.Expr) -> str | None:
    if isinstance(node, _WRITES) and not isinstance(node, _READS):
        return f"The query contains {_kind(node)}, which may change something."
    if isinstance(node, exp.Lock) and node.args.get("update"):
        return "The query locks rows (FOR UPDATE); leave that out."
    if isinstance(node, exp.SessionParameter | exp.Parameter) and isinstance(node.parent, exp.PropertyEQ):
        return "The query assigns a variable; leave that out."
    if isinstance(node, exp.PropertyEQ):
        return "The query assigns a variable; leave that out."
    if isinstance(node, exp.Operator) and not str(node.args.get("operator") or "").startswith("pg_catalog."):
        return "The query names an operator by its schema, which may be somebody's own."
    if isinstance(node, exp.Table):
        return _objection_to_table(node)
    return _objection_to_function(node)


def _objection_to_table(table: exp.Table) -> str | None:
    source = table.this
    if isinstance(source, exp.Func):
        if set(_names(source)) & ROW_MAKERS:
            return None
        return f"The function {next(_names(source)).upper()} may not stand in FROM."
    if not isinstance(source, exp.Identifier) or _is_file(source):
        return f"The query reads {source.sql()[:80]!r}, which is no table."
    if table.name.lower() in _SECRET or table.db.lower() in _SECRET_SCHEMAS:
        return f"The table {table.name} is the database's own."
    return None


def _is_file(name: exp.Identifier) -> bool:
    """DuckDB and Spark read a file where its path stands as a table; a table's own name has no dot or stroke in it."""
    return any(part in name.name for part in (".", "/", "\\"))


def _objection_to_function(node: exp.Expr) -> str | None:
    if isinstance(node, _DANGEROUS_NODES):
        return f"The function {node.key.upper()} is not let through."
    if not isinstance(node, exp.Func):
        return None
    for name in _names(node):
        if name in DANGEROUS:
            return f"The function {name.upper()} is not let through."
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        name = str(node.this).lower() if isinstance(node.this, str) else node.name.lower()
        if isinstance(node.find_ancestor(exp.Hint), exp.Hint):
            return None
        owner = node.parent.this.name.lower() if isinstance(node.parent, exp.Dot) else ""
        if name not in HARMLESS or owner not in ("", "pg_catalog", "safe"):
            return f"The function {name.upper()} is unknown here, so that it is not let through."
    return None


def _names(function: exp.Func) -> Iterator[str]:
    if isinstance(function, exp.Anonymous):
        yield function.name.lower()
    else:
        yield from (name.lower() for name in function.sql_names() if name)
        if isinstance(function.this, str):
            yield function.this.lower()
