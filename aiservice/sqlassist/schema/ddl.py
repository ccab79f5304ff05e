"""Reads a schema from text: the DDL of any dialect, a dump, or a plain list of tables."""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from aiservice.core.errors import SchemaInvalid
from aiservice.sqlassist.schema.columns import Columns
from aiservice.sqlassist.schema.draft import Draft
from aiservice.sqlassist.schema.keys import with_keys
from aiservice.sqlassist.schema.listing import read_listing
from aiservice.sqlassist.schema.model import Column, Schema
from aiservice.sqlassist.schema.selected import selected
from aiservice.sqlassist.schema.tokens import ESCAPING, Script, names_in, scan
from aiservice.sqlassist.schema.types import cut, listed_values

KEPT = 8
_IS_DDL = re.compile(r"\bcreate\s+(or\s+replace\s+)?(\w+\s+){0,3}(table|view)\b", re.IGNORECASE)
_NAMED = ("word", "name", "text")
# What else a dump has: it says nothing about tables.
_PASSED_OVER = frozenset(
    """ANALYZE BEGIN CALL CASE CLUSTER COMMIT COPY DECLARE DELETE DELIMITER DENY DO DROP ELSE ELSEIF ELSIF END EXEC
    EXECUTE EXCEPTION FETCH FLUSH FOR GRANT IF IN INSERT INSTALL LEAVE LET LOAD LOCK LOOP MERGE OPEN OPTIMIZE OUT
    PRAGMA PERFORM PRINT RAISE REFRESH REINDEX REM RENAME REPEAT REPLACE RESET RETURN RETURNS REVOKE ROLLBACK
    SAVEPOINT SECURITY SELECT SET SHOW SIGNAL SPOOL START THEN TRUNCATE UNLOCK UNTIL UPDATE USE VACUUM VALUES WHEN WHILE
    WITH PROMPT ITERATE CLOSE""".split()  # noqa: SIM905  # a list of words reads better as text
)
_VERBS_OF_ALTER = frozenset("ALTER CHANGE DROP ENABLE DISABLE MODIFY OWNER RENAME SET VALIDATE WITH".split())  # noqa: SIM905
_MADE_ELSE = frozenset(
    """FUNCTION PROCEDURE PROC TRIGGER SEQUENCE EXTENSION SCHEMA DATABASE ROLE USER DOMAIN POLICY RULE EVENT SYNONYM
    AGGREGATE OPERATOR CAST COLLATION LANGUAGE SERVER PUBLICATION SUBSCRIPTION STATISTICS TABLESPACE LOGIN MACRO
    PACKAGE DICTIONARY STAGE STREAM TASK FILE WAREHOUSE DEFINER ASSEMBLY DEFAULT PARTITION CONVERSION ACCESS TEXT
    TRANSFORM FULLTEXT XML SECRET CATALOG MODEL CONNECTION VARIABLE ALGORITHM BITMAP SPATIAL CONSTRAINT
    ROUTINE SECURITY SEARCH PIPE QUOTA PROFILE""".split()  # noqa: SIM905
)


@lru_cache(maxsize=KEPT)
def read_schema(text: str, dialect: str) -> Schema:
    """The tables of a schema's text; raises `SchemaInvalid` with line and column of what could not be read.

    The dialect matters for little: where texts have backslashes, and how types are spelled.
    """
    if not _IS_DDL.search(text):
        return with_keys(Schema(tuple(read_listing(text))))
    try:
        return _read(text, dialect)
    except SchemaInvalid as first:
        other = "postgres" if dialect in ESCAPING else "mysql"
        try:
            return _read(text, other)
        except SchemaInvalid:
            raise first from None


def _read(text: str, dialect: str) -> Schema:
    script = scan(text, dialect)
    reader = _Reader(script, dialect)
    start = 0
    for number, token in enumerate(script.tokens):
        if token.kind == "end":
            reader.read(start, number)
            start = number + 1
    found = tuple(draft.table() for draft in reader.drafts.values() if draft.columns)
    if not found:
        raise SchemaInvalid("The schema has no table in it.", param="schema")
    return with_keys(Schema(found))


@dataclass(slots=True)
class _Reader:
    """Collects what the statements of a script say."""

    script: Script
    dialect: str
    drafts: dict[str, Draft] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Columns = field(init=False)
    partners: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.partners = frozenset(self.script.closing.values())
        self.columns = Columns(self.script, self.dialect, self.enums)

    def read(self, start: int, end: int) -> None:
        """The statement, or, where a semicolon was forgotten, statements from..to."""
        while start < end:
            token = self.script.tokens[start]
            if token.upper == "CREATE":
                start = self._create(start + 1, end)
            elif token.upper == "ALTER":
                start = self._alter(start + 1, end)
            elif token.upper == "COMMENT":
                start = self._comment(start + 1, end)
            elif token.upper in _PASSED_OVER or token.kind == "text" or (token.kind == "sign" and token.text in "/$:"):
                start = self._next(start + 1, end)
            else:
                raise self.script.invalid(token.start, "a statement is expected")

    def _upper(self, at: int, end: int) -> str:
        return self.script.tokens[at].upper if at < end else ""

    def _skip(self, at: int, end: int, *words: str) -> int:
        """Past these words if all are there."""
        return at + len(words) if all(self._upper(at + n, end) == word for n, word in enumerate(words)) else at

    def _next(self, at: int, end: int) -> int:
        """Where the next statement begins: at the end, or at a CREATE or ALTER at the start of a line."""
        tokens = self.script.tokens
        while at < end:
            if tokens[at].upper in ("CREATE", "ALTER", "COMMENT") and (
                "\n" in self.script.text[tokens[at - 1].end : tokens[at].start]
            ):
                is_option = tokens[at].upper == "COMMENT" and self._upper(at + 1, end) != "ON"
                if not is_option:
                    return at
            at = self.script.closing.get(at, at) + 1
        return end

    def _create(self, at: int, end: int) -> int:
        is_unique = False
        for position in range(at, min(at + 8, end)):
            match self._upper(position, end):
                case "TABLE":
                    return self._table(position + 1, end)
                case "VIEW":
                    return self._view(position + 1, end)
                case "UNIQUE":
                    is_unique = True
                case "INDEX":
                    return self._index(position + 1, end, is_unique=is_unique)
                case "TYPE":
                    return self._type(position + 1, end)
                case word if word in _MADE_ELSE:
                    return end
        raise self.script.invalid(self.script.tokens[at].start, "TABLE, VIEW or INDEX is expected")

    def _named(self, at: int, end: int) -> tuple[int, str]:
        """The place after a name, and the name: with what stands before its dot only where another has it already."""
        at = self._skip(at, end, "ONLY")
        at = self._skip(self._skip(at, end, "IF", "NOT", "EXISTS"), end, "IF", "EXISTS")
        at = self._skip(at, end, "ONLY")
        parts: list[str] = []
        while at < end and self.script.tokens[at].kind in _NAMED:
            parts.append(self.script.tokens[at].text)
            at += 1
            if self._upper(at, end) != ".":
                break
            at += 1
        if not parts:
            raise self.script.invalid(self.script.tokens[at].start, "a name is expected")
        return at, ".".join(parts[-2:])

    def _draft(self, name: str) -> Draft | None:
        return self.drafts.get(name.lower()) or self.drafts.get(name.rpartition(".")[2].lower())

    def _new(self, name: str) -> Draft:
        short = name.rpartition(".")[2]
        is_other = short.lower() in self.drafts and short != name
        return Draft(name if is_other else short)

    def _keep(self, draft: Draft) -> None:
        if not draft.name.startswith("#"):
            self.drafts[draft.name.lower()] = draft

    def _table(self, at: int, end: int) -> int:
        start = at
        at, name = self._named(at, end)
        draft = self._new(name)
        if self._upper(at, end) == "(":
            close = self._closing(at, end)
            for first, last in self.script.parts(at + 1, close):
                if self._upper(first, end) == "LIKE":
                    self._copy(draft, first + 1, end)
                else:
                    self.columns.part(draft, first, last)
            at = close + 1
        elif self._upper(at, end) == "USING":
            return self._virtual(draft, at + 1, end)
        elif self._upper(at, end) not in ("AS", "LIKE", "CLONE", "PARTITION", "SELECT", "ON", "OF", "ENGINE"):
            raise self.script.invalid(self.script.tokens[at].start, f"'(' is expected after the table {name[:60]}")
        return self._options(draft, start, at, end=end)

    def _options(self, draft: Draft, start: int, at: int, *, end: int) -> int:
        stop = self._next(at, end)
        for position in range(at, stop):
            match self._upper(position, stop):
                case ")" if position not in self.partners:
                    raise self.script.invalid(self.script.tokens[position].start, "a bracket too many")
                case "(" if position not in self.script.closing:
                    raise self.script.invalid(self.script.tokens[position].start, "the bracket is not closed")
                case "AS" | "SELECT" if not draft.columns:
                    draft.columns = self._selected(position + (self._upper(position, stop) == "AS"), stop)
                case "LIKE" | "CLONE":
                    self._copy(draft, position + 1, stop)
                case "INHERITS":
                    for parent in names_in(self.script, position + 2, self.script.closing.get(position + 1, stop)):
                        self._inherit(draft, parent)
                case "COMMENT":
                    value = self.script.tokens[position + (2 if self._upper(position + 1, stop) == "=" else 1)]
                    draft.comment = cut(value.text if value.kind in ("text", "name") else "")
                case "OPTIONS":
                    draft.comment = cut(self.columns.option("DESCRIPTION", position, stop))
        if not draft.columns and self._upper(at, end) == "(":
            raise self.script.invalid(self.script.tokens[start].start, "a table without columns")
        self._keep(draft)
        return stop

    def _closing(self, at: int, end: int) -> int:
        close = self.script.closing.get(at)
        if close is None or close > end:
            raise self.script.invalid(self.script.tokens[at].start, "the bracket is not closed")
        return close

    def _virtual(self, draft: Draft, at: int, end: int) -> int:
        """`CREATE VIRTUAL TABLE t USING fts5(title, body, tokenize = 'porter')`."""
        if self._upper(at + 1, end) == "(":
            for first, last in self.script.parts(at + 2, self._closing(at + 1, end)):
                if "=" not in (token.upper for token in self.script.tokens[first:last]):
                    name = self.script.tokens[first].text
                    draft.columns[name.lower()] = Column(name, "TEXT", "text")
            self._keep(draft)
        return end

    def _copy(self, draft: Draft, at: int, end: int) -> None:
        _, name = self._named(at, end)
        self._inherit(draft, name)

    def _inherit(self, draft: Draft, name: str) -> None:
        parent = self._draft(name)
        if parent is not None:
            draft.columns = dict(parent.columns) | draft.columns
            draft.primary_key = draft.primary_key or parent.primary_key

    def _view(self, at: int, end: int) -> int:
        at, name = self._named(at, end)
        listed: tuple[str, ...] = ()
        if self._upper(at, end) == "(":
            close = self._closing(at, end)
            listed, at = names_in(self.script, at + 1, close), close + 1
        stop = self._next(at, end)
        at = next((position for position in range(at, stop) if self._upper(position, stop) == "AS"), stop)
        draft = self._new(name)
        columns = self._selected(at + 1, stop) if at + 1 < stop else {}
        if listed:
            known = list(columns.values())
            columns = {
                one.lower(): replace(known[number], name=one) if len(known) == len(listed) else Column(one)
                for number, one in enumerate(listed)
            }
        draft.columns = columns
        self._keep(draft)
        return stop

    def _selected(self, at: int, end: int) -> dict[str, Column]:
        if at >= end:
            return {}
        tokens = self.script.tokens
        return selected(self.script.text[tokens[at].start : tokens[end - 1].end], self.dialect, self._draft)

    def _index(self, at: int, end: int, *, is_unique: bool) -> int:
        stop = self._next(at, end)
        on = next((position for position in range(at, stop) if self._upper(position, stop) == "ON"), None)
        if on is None:
            raise self.script.invalid(self.script.tokens[at].start, "an index needs ON and a table")
        after, name = self._named(on + 1, stop)
        draft = self._draft(name)
        while after < stop and self._upper(after, stop) != "(":
            after += 1
        if draft is not None and after < stop:
            close = self._closing(after, end)
            names = names_in(self.script, after + 1, close)
            is_partial = "WHERE" in (token.upper for token in self.script.tokens[close:stop])
            if names and not is_partial and all(one.lower() in draft.columns for one in names):
                (draft.unique if is_unique else draft.indexes).append(names)
        return stop

    def _type(self, at: int, end: int) -> int:
        """`CREATE TYPE mood AS ENUM ('sad', 'ok')`."""
        at, name = self._named(at, end)
        if [self._upper(at, end), self._upper(at + 1, end)] == ["AS", "ENUM"]:
            self.enums[name.rpartition(".")[2].lower()] = tuple(
                token.text for token in self.script.tokens[at:end] if token.kind == "text"
            )
        return end

    def _alter(self, at: int, end: int) -> int:
        stop = self._next(at, end)
        if self._upper(at, end) != "TABLE":
            return stop
        at, name = self._named(at + 1, end)
        draft, is_added = self._draft(name), False
        for first, last in self.script.parts(at, stop) if draft is not None else ():
            add = first + 2 if self._upper(first, stop) == "WITH" else first
            verb = self._upper(add, stop)
            is_added = verb == "ADD" or (is_added and verb not in _VERBS_OF_ALTER)
            if is_added and draft is not None:
                self.columns.added(draft, add + (verb == "ADD"), last)
        return stop

    def _comment(self, at: int, end: int) -> int:
        """`COMMENT ON TABLE t IS 'text'`, `COMMENT ON COLUMN t.c IS 'text'`."""
        stop = self._next(at, end)
        kind = self._upper(at + 1, end)
        if self._upper(at, end) != "ON" or kind not in ("TABLE", "COLUMN", "VIEW"):
            return stop
        parts = []
        at += 2
        while at < stop and self._upper(at, stop) != "IS":
            if self.script.tokens[at].kind in _NAMED:
                parts.append(self.script.tokens[at].text)
            at += 1
        text = self.script.tokens[at + 1].text if at + 1 < stop else ""
        if kind != "COLUMN":
            draft = self._draft(".".join(parts[-2:]))
            if draft is not None:
                draft.comment = cut(text)
        else:
            draft = self._draft(".".join(parts[-3:-1]))
            known = draft.columns.get(parts[-1].lower()) if draft is not None else None
            if draft is not None and known is not None:
                values = known.values or listed_values(text)
                draft.columns[known.name.lower()] = replace(known, comment=cut(text), values=values)
        return stop
