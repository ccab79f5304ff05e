"""What stands between the brackets of a CREATE TABLE: columns and constraints."""

import re
from collections.abc import Mapping
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.sqlassist.schema.draft import Draft
from aiservice.sqlassist.schema.model import Column, ForeignKey
from aiservice.sqlassist.schema.tokens import Script, Token, names_in
from aiservice.sqlassist.schema.types import cut, kind_of, listed_values

VALUES_MAX = 200
_QUOTED_NAME = re.compile(r"\[([^\W\d][^\]]*)\]")
# What ends a column's type.
_AFTER_TYPE = frozenset(
    """NOT NULL DEFAULT PRIMARY UNIQUE CHECK REFERENCES COMMENT CONSTRAINT AUTO_INCREMENT AUTOINCREMENT IDENTITY
    GENERATED COLLATE CHARSET ON AS STORED VIRTUAL PERSISTED VISIBLE INVISIBLE OPTIONS ENCODE DISTKEY SORTKEY CODEC
    TTL MATERIALIZED ALIAS EPHEMERAL SPARSE ROWGUIDCOL FORMAT TITLE CASESPECIFIC COMPRESS KEY MASKED TAG ENABLE
    DISABLE STORAGE COMPRESSION SRID FOREIGN SUM REPLACE MAX MIN CLUSTERED NONCLUSTERED DEFERRABLE INITIALLY
    COLUMN_FORMAT ENCODING CHECKSUM BLOCK_SIZE RENAME INHERITS OVERRIDING HIDDEN EXCLUDE PATH FILESTREAM NOCHECK
    WITHOUT_DEFAULT UPDATABLE ALWAYS ASC DESC""".split()  # noqa: SIM905  # a list of words reads better as text
)
# Words that types of more than one word are made of.
_TYPE_WORDS = frozenset(
    """UNSIGNED SIGNED ZEROFILL BIG INT INTEGER SMALL TINY VARYING PRECISION WITH WITHOUT LOCAL TIME ZONE CHARACTER
    CHAR NATIONAL NATIVE NCHAR LARGE OBJECT RAW LONG DOUBLE BINARY VARBINARY VARCHAR TEXT BYTE YEAR MONTH DAY HOUR
    MINUTE SECOND TO BIT ARRAY LIST SET FOR DATA LARGE TIMESTAMP INTERVAL LOB BLOB REF MULTISET FLOAT NUMBER
    """.split()  # noqa: SIM905
)


class Columns:
    """Reads the parts of a table's body into its draft."""

    def __init__(self, script: Script, dialect: str, enums: Mapping[str, tuple[str, ...]]) -> None:
        self._script = script
        self._tokens = script.tokens
        self._dialect = dialect
        self._enums = enums

    def part(self, draft: Draft, start: int, end: int) -> None:
        """A column or a constraint; raises `SchemaInvalid` for what is neither."""
        if start >= end:
            raise self._script.invalid(self._tokens[end].start, "a column is missing")
        first = self._tokens[start]
        if first.upper == "CONSTRAINT":
            start += 1 if self._tokens[start + 1].upper in ("PRIMARY", "FOREIGN", "UNIQUE", "CHECK") else 2
            self._constraint(draft, start, end)
        elif self._is_constraint(start, end):
            self._constraint(draft, start, end)
        elif first.kind in ("word", "name", "text"):
            self.column(draft, start, end)
        else:
            raise self._script.invalid(first.start, "a column's name is expected")

    def column(self, draft: Draft, start: int, end: int) -> None:
        """`name type constraint...`."""
        name = self._tokens[start].text
        after, type_text = self._type(start + 1, end)
        column = _Column(name)
        spelled = _spelled(type_text, self._dialect)
        column.values = self._values_of_type(start + 1, after)
        kind = "text" if column.values else kind_of(spelled)
        position = after
        while position < end:
            position = self._said(draft, column, position, end=end)
        remark = self._script.remarks(start, end)
        comment = column.comment or remark
        draft.columns[name.lower()] = Column(
            name,
            spelled,
            kind,
            column.is_nullable,
            cut(comment),
            (column.values or listed_values(column.comment) or listed_values(remark))[:VALUES_MAX],
        )

    def _is_constraint(self, start: int, end: int) -> bool:
        token, following = self._tokens[start], self._tokens[start + 1]
        match token.upper:
            case "PRIMARY" | "FOREIGN":
                return following.upper == "KEY"
            case "UNIQUE":
                return following.upper in ("(", "KEY", "INDEX", "CLUSTERED", "NONCLUSTERED") or self._is_called(start)
            case "KEY" | "INDEX" | "FULLTEXT" | "SPATIAL":
                is_expression = any(token.upper == "TYPE" for token in self._tokens[start + 2 : end])
                return is_expression or following.upper in ("(", "KEY", "INDEX") or self._is_called(start)
            case "CHECK" | "EXCLUDE":
                return following.upper in ("(", "USING")
            case "LIKE" | "PERIOD" | "PROJECTION":
                return end - start > 1 and following.upper != "("
        return False

    def _is_called(self, start: int) -> bool:
        """`KEY name (a)`, and not a column called key: `key varchar(20)`."""
        name, after = self._tokens[start + 1], self._tokens[min(start + 2, len(self._tokens) - 1)]
        is_type = name.kind == "word" and kind_of(name.text) != "unknown"
        return name.kind in ("word", "name") and after.upper in ("(", "USING", "ON") and not is_type

    def _constraint(self, draft: Draft, start: int, end: int) -> None:
        words = [token.upper for token in self._tokens[start : min(start + 2, end)]] + ["", ""]
        if words[0] == "CHECK":
            self._check(draft, start, end)
        if words[0] in ("CHECK", "EXCLUDE", "LIKE", "PERIOD", "PROJECTION"):
            return
        bracket = next((at for at in range(start, end) if self._tokens[at].upper == "("), end)
        listed = self._list(bracket, end)
        if not listed and words[0] in ("PRIMARY", "FOREIGN", "UNIQUE"):
            raise self._script.invalid(self._tokens[start].start, "a constraint needs columns in brackets")
        if words[0] == "PRIMARY":
            draft.primary_key = listed
        elif words[0] == "FOREIGN":
            at = next((at for at in range(bracket, end) if self._tokens[at].upper == "REFERENCES"), end)
            self._reference(draft, listed, at, end=end)
        elif words[0] == "UNIQUE":
            draft.unique.append(listed)
        elif words[0] in ("KEY", "INDEX") and listed:
            draft.indexes.append(listed)

    def added(self, draft: Draft, start: int, end: int) -> None:
        """What an ALTER TABLE adds: a constraint, or a column."""
        if self._tokens[start].upper == "COLUMN":
            start += 1
        if [token.upper for token in self._tokens[start : start + 3]] == ["IF", "NOT", "EXISTS"]:
            start += 3
        if self._tokens[start].upper == "(":
            for first, last in self._script.parts(start + 1, self._script.closing.get(start, end)):
                self.part(draft, first, last)
        elif start < end:
            self.part(draft, start, end)

    def _type(self, start: int, end: int) -> tuple[int, str]:
        """Where a column's type ends, and its text; no type is one too."""
        position, depth_of_angles, words = start, 0, 0
        while position < end:
            token = self._tokens[position]
            if token.upper in ("(", "["):
                position = self._script.closing.get(position, end - 1) + 1
                continue
            if token.upper in ("<", ">"):
                depth_of_angles += 1 if token.upper == "<" else -1
            elif depth_of_angles or token.upper in (".", ":") or self._tokens[position - 1].upper in (".", ":"):
                pass
            elif token.kind == "name" and not words:
                words += 1
            elif token.kind != "word" or self._ends_type(position, words):
                break
            else:
                words += 1
            position += 1
        text = self._script.text[self._tokens[start].start : self._tokens[position - 1].end] if position > start else ""
        return position, text

    def _ends_type(self, position: int, words: int) -> bool:
        upper = self._tokens[position].upper
        if upper in _AFTER_TYPE:
            return True
        if upper == "CHARACTER" and self._tokens[position + 1].upper == "SET":
            return True
        if upper == "WITH" and self._tokens[position + 1].upper not in ("TIME", "LOCAL"):
            return True
        if words and upper not in _TYPE_WORDS:
            raise self._script.invalid(self._tokens[position].start, "',' or ')' is expected after a column's type")
        return False

    def _said(self, draft: Draft, column: "_Column", position: int, *, end: int) -> int:
        """One thing that is said of a column after its type; where the next one begins."""
        token, following = self._tokens[position], self._tokens[position + 1]
        match token.upper:
            case "NOT" if following.upper == "NULL":
                column.is_nullable = False
                return position + 2
            case "FOREIGN":
                return position + 2
            case "PRIMARY" | "KEY":
                draft.primary_key, column.is_nullable = (column.name,), False
                return position + (2 if following.upper == "KEY" else 1)
            case "UNIQUE":
                draft.unique.append((column.name,))
                return position + (2 if following.upper == "KEY" else 1)
            case "COMMENT" | "TITLE":
                column.comment = following.text
                return position + 2
            case "OPTIONS":
                column.comment = self.option("DESCRIPTION", position, end)
            case "CHECK":
                column.values = column.values or self._checked(position, end).get(column.name.lower(), ())
            case "REFERENCES":
                return self._reference(draft, (column.name,), position, end=end)
            case "DEFAULT" | "ON" | "CONSTRAINT" | "COLLATE":
                return min(position + 2, end) if following.upper != "(" else self._script.closing.get(position + 1, end)
        return self._script.closing.get(position, position) + 1

    def option(self, name: str, start: int, end: int) -> str:
        """`description = "text"` in brackets, empty if it is not there."""
        for at in range(start, end - 2):
            if self._tokens[at].upper == name and self._tokens[at + 1].upper == "=":
                return self._tokens[at + 2].text
        return ""

    def _reference(self, draft: Draft, columns: tuple[str, ...], at: int, *, end: int) -> int:
        position = at + 1
        while position + 2 < end and self._tokens[position + 1].upper == ".":
            position += 2
        if position >= end or self._tokens[position].kind not in ("word", "name"):
            raise self._script.invalid(self._tokens[min(at, end)].start, "REFERENCES needs a table")
        target, listed = self._tokens[position].text, self._list(position + 1, end)
        draft.foreign_keys.append(ForeignKey(columns, target, listed))
        return (self._script.closing.get(position + 1, position) if listed else position) + 1

    def _list(self, bracket: int, end: int) -> tuple[str, ...]:
        if bracket >= end or self._tokens[bracket].upper != "(" or bracket not in self._script.closing:
            return ()
        return names_in(self._script, bracket + 1, self._script.closing[bracket])

    def _check(self, draft: Draft, start: int, end: int) -> None:
        for name, values in self._checked(start, end).items():
            known = draft.columns.get(name)
            if known is not None and not known.values:
                draft.columns[name] = Column(
                    known.name, known.type, known.kind, known.is_nullable, known.comment, values[:VALUES_MAX]
                )

    def _checked(self, start: int, end: int) -> Mapping[str, tuple[str, ...]]:
        """`a IN ('x', 'y')`, or `a = ANY (ARRAY['x', 'y'])` as dumps have it: the texts by the column's name."""
        found: dict[str, tuple[str, ...]] = {}
        subject: Token | None = None
        at = start
        while at < end:
            token = self._tokens[at]
            is_list = token.upper == "(" and self._tokens[at - 1].upper in ("IN", "ANY")
            if is_list and subject is not None and self._tokens[at - 2].upper != "NOT":
                close = self._script.closing.get(at, end)
                values = tuple(one.text for one in self._tokens[at:close] if one.kind == "text")
                if values:
                    found[subject.text.lower()] = values
                at = close
            elif token.kind == "name" or (token.kind == "word" and self._is_subject(at)):
                subject = token
            at += 1
        return found

    def _is_subject(self, at: int) -> bool:
        following = self._tokens[at + 1].upper
        return self._tokens[at - 1].upper != ":" and following in ("IN", "=", ")", ":", "::", "COLLATE")

    def _values_of_type(self, start: int, end: int) -> tuple[str, ...]:
        """The values of an ENUM, or of a type that was made as one."""
        if start >= end:
            return ()
        first = self._tokens[start]
        if first.upper.startswith(("ENUM", "SET")):
            return tuple(token.text for token in self._tokens[start + 2 : end] if token.kind in ("text", "name"))
        named = [token.text.lower() for token in self._tokens[start:end] if token.kind in ("word", "name")]
        return next((self._enums[name] for name in named if name in self._enums), ())


class _Column:
    """A column while its constraints are read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_nullable = True
        self.comment = ""
        self.values: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def _spelled(type_text: str, dialect: str) -> str:
    """A type as sqlglot spells it; one that it does not know as it is written."""
    text = " ".join(_QUOTED_NAME.sub(r"\1", type_text.replace('"', "").replace("`", "")).split())
    if not text or text.upper().startswith(("ENUM", "SET(")):
        return text.partition("(")[0].upper()
    try:
        return exp.DataType.build(text, dialect=dialect, udt=True).sql()[:200]
    except (SqlglotError, ValueError, RecursionError):
        return text.upper()[:200]
