"""Reads a schema from text: the DDL of any dialect, or a plain list of tables."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.core.errors import SchemaInvalid
from aiservice.sqlassist.gate import said
from aiservice.sqlassist.schema.keys import with_keys
from aiservice.sqlassist.schema.listing import read_listing
from aiservice.sqlassist.schema.model import Column, ForeignKey, Schema, Table
from aiservice.sqlassist.schema.types import cut, kind_of, listed_values

KEPT = 64
_OTHERS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb", "oracle", "snowflake")
_IS_DDL = re.compile(r"\bcreate\s+(or\s+replace\s+)?(\w+\s+){0,3}(table|view)\b", re.IGNORECASE)


@lru_cache(maxsize=KEPT)
def read_schema(text: str, dialect: str) -> Schema:
    """The tables of a schema's text; raises `SchemaInvalid` with line and column of what could not be read."""
    if not _IS_DDL.search(text):
        return with_keys(Schema(tuple(read_listing(text))))
    tables = _Reader()
    for statement in _statements(text, dialect):
        tables.read(statement)
    found = tuple(draft.table() for draft in tables.drafts.values())
    if not found:
        raise SchemaInvalid("The schema has no table in it.", param="schema")
    return with_keys(Schema(found))


def _statements(text: str, dialect: str) -> Sequence[exp.Expr]:
    """Read in the asked dialect, else in the first other that can."""
    first: SqlglotError | RecursionError | None = None
    for name in (dialect, *(other for other in _OTHERS if other != dialect)):
        try:
            found = sqlglot.parse(text, read=name)
        except (SqlglotError, RecursionError) as error:
            first = first or error
            continue
        return [statement for statement in found if statement is not None]
    if isinstance(first, SqlglotError):
        raise SchemaInvalid(f"The schema could not be read as {dialect}: {said(first)}", param="schema")
    raise SchemaInvalid("The schema is nested too deeply.", param="schema")


@dataclass(slots=True)
class _Draft:
    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    indexes: list[tuple[str, ...]] = field(default_factory=list)
    comment: str = ""

    def table(self) -> Table:
        key = {name.lower() for name in self.primary_key}
        columns = tuple(
            replace(column, is_nullable=False) if column.name.lower() in key else column
            for column in self.columns.values()
        )
        return Table(
            self.name,
            columns,
            self.primary_key,
            tuple(self.unique),
            tuple(self.foreign_keys),
            tuple(self.indexes),
            self.comment,
        )


class _Reader:
    """Collects what the statements of a dump say; what is no definition is passed over."""

    def __init__(self) -> None:
        self.drafts: dict[str, _Draft] = {}

    def read(self, statement: exp.Expr) -> None:
        if isinstance(statement, exp.Create):
            self._create(statement)
        elif isinstance(statement, exp.Alter):
            draft = self.drafts.get(statement.this.name.lower())
            if draft is not None:
                for action in statement.args.get("actions") or ():
                    _constraints(draft, action)
        elif isinstance(statement, exp.Comment):
            self._comment(statement)

    def _create(self, create: exp.Create) -> None:
        kind = str(create.args.get("kind") or "").upper()
        if kind == "INDEX":
            self._index(create)
        if kind not in ("TABLE", "VIEW"):
            return
        schema = create.this
        table = schema.this if isinstance(schema, exp.Schema) else schema
        draft = _Draft(table.name)
        if isinstance(schema, exp.Schema):
            for part in schema.expressions:
                _part(draft, part)
        query = create.expression
        if isinstance(query, exp.Query) and not draft.columns:
            draft.columns = {name.lower(): Column(name) for name in query.named_selects if name and name != "*"}
        for found in create.find_all(exp.SchemaCommentProperty):
            draft.comment = cut(found.this.name)
        if draft.columns:
            self.drafts[draft.name.lower()] = draft

    def _index(self, create: exp.Create) -> None:
        index = create.this
        table = index.args.get("table") if isinstance(index, exp.Index) else None
        draft = None if table is None else self.drafts.get(table.name.lower())
        params = index.args.get("params") if isinstance(index, exp.Index) else None
        if draft is None or params is None or params.args.get("where") is not None:
            return
        names = _names(params.args.get("columns") or ())
        if names and create.args.get("unique"):
            draft.unique.append(names)
        elif names:
            draft.indexes.append(names)

    def _comment(self, comment: exp.Comment) -> None:
        text = cut(comment.expression.name if comment.expression is not None else "")
        kind = str(comment.args.get("kind") or "").upper()
        if kind == "TABLE":
            draft = self.drafts.get(comment.this.name.lower())
            if draft is not None:
                draft.comment = text
        elif kind == "COLUMN" and isinstance(comment.this, exp.Column):
            draft = self.drafts.get(comment.this.table.lower())
            name = comment.this.name.lower()
            if draft is not None and name in draft.columns:
                column = draft.columns[name]
                values = column.values or listed_values(comment.expression.name)
                draft.columns[name] = replace(column, comment=text, values=values)


def _part(draft: _Draft, part: exp.Expr) -> None:
    if isinstance(part, exp.ColumnDef):
        _column(draft, part)
    elif isinstance(part, exp.Identifier | exp.Column):
        draft.columns[part.name.lower()] = Column(part.name)
    else:
        _constraints(draft, part)


def _column(draft: _Draft, definition: exp.ColumnDef) -> None:
    name, kind = definition.name, definition.args.get("kind")
    type_text = "" if kind is None else kind.sql()
    is_nullable, comment, values = True, " ".join(definition.comments or ()), _enum_values(kind)
    for constraint in definition.args.get("constraints") or ():
        what = constraint.args.get("kind")
        if isinstance(what, exp.PrimaryKeyColumnConstraint):
            draft.primary_key, is_nullable = (name,), False
        elif isinstance(what, exp.NotNullColumnConstraint):
            is_nullable = bool(what.args.get("allow_null"))
        elif isinstance(what, exp.UniqueColumnConstraint):
            draft.unique.append((name,))
        elif isinstance(what, exp.CommentColumnConstraint):
            comment = what.this.name
        elif isinstance(what, exp.CheckColumnConstraint):
            values = values or tuple(_checked_values(what, name))
        elif isinstance(what, exp.Reference):
            _reference(draft, (name,), what)
        comment = comment or " ".join(constraint.comments or ())
    values = values or listed_values(comment)
    kind_name = kind_of(type_text)
    draft.columns[name.lower()] = Column(name, type_text, kind_name, is_nullable, cut(comment), values)


def _constraints(draft: _Draft, node: exp.Expr) -> None:
    """The keys that a table's own constraint has, or an ALTER TABLE adds."""
    for part in node.walk():
        if isinstance(part, exp.PrimaryKey):
            draft.primary_key = _names(part.expressions) or draft.primary_key
        elif isinstance(part, exp.ForeignKey):
            reference = part.args.get("reference")
            if isinstance(reference, exp.Reference):
                _reference(draft, _names(part.expressions), reference)
        elif isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
            draft.unique.append(_names(part.this.expressions))
        elif isinstance(part, exp.IndexColumnConstraint):
            names = _names(part.expressions)
            if names:
                draft.indexes.append(names)


def _reference(draft: _Draft, columns: tuple[str, ...], reference: exp.Reference) -> None:
    target = reference.this
    if isinstance(target, exp.Schema):
        draft.foreign_keys.append(ForeignKey(columns, target.this.name, _names(target.expressions)))
    elif isinstance(target, exp.Table):
        draft.foreign_keys.append(ForeignKey(columns, target.name, ()))


def _names(nodes: Sequence[exp.Expr]) -> tuple[str, ...]:
    names = []
    for node in nodes:
        found = node.find(exp.Column) or node.find(exp.Identifier)
        if found is not None and found.name:
            names.append(found.name)
    return tuple(names)


def _enum_values(kind: exp.Expr | None) -> tuple[str, ...]:
    if not isinstance(kind, exp.DataType) or kind.this not in (exp.DataType.Type.ENUM, exp.DataType.Type.SET):
        return ()
    return tuple(value.name for value in kind.expressions if isinstance(value, exp.Literal))


def _checked_values(check: exp.CheckColumnConstraint, name: str) -> Iterator[str]:
    for found in check.find_all(exp.In):
        if found.this.name.lower() == name.lower():
            yield from (value.name for value in found.expressions if isinstance(value, exp.Literal))
