"""From a text to statements that parse, least changed first."""

import heapq
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

from aiservice.sqlassist import gate
from aiservice.sqlassist.dialect import detect, foreign_to
from aiservice.sqlassist.fix.model import NAMED, Draft, Repair, change
from aiservice.sqlassist.fix.prose import shorter
from aiservice.sqlassist.fix.syntax import Stop, proposals, tidied
from aiservice.sqlassist.fix.words import Word, text_of, words_of
from aiservice.sqlassist.schema import Schema

PARSES_MAX = 150
EXPANDED_MAX = 10
COST_MAX = 4.5
WORDS_MAX = 2_000
TIDIED_MAX = 30
BUDGET_S = 1.0
FOREIGN_COST = 1.2
_OTHERS = ("mysql", "tsql", "bigquery", "postgres", "duckdb", "snowflake", "oracle")
_ESCAPING = frozenset({"mysql", "bigquery", "snowflake", "databricks", "spark", "hive", "clickhouse"})
_QUOTES: Mapping[str, str] = {"mysql": "`", "bigquery": "`", "databricks": "`", "spark": "`", "hive": "`"}
_STATEMENTS = (
    exp.Query, exp.DML, exp.DDL, exp.Drop, exp.Alter, exp.TruncateTable, exp.Merge, exp.Values, exp.Grant, exp.Describe,
    exp.Pragma, exp.Transaction, exp.Commit, exp.Rollback, exp.Set, exp.Use,
)  # fmt: skip


@dataclass
class Search:
    """The heap of texts not tried yet, each with the dialect that it is to be read in."""

    dialect: str
    schema: Schema | None
    parses: int = 0
    expanded: int = 0
    _heap: list[tuple[float, int, str, Draft]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _likely: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        tables = () if self.schema is None else self.schema.tables
        self._tables = frozenset(table.name.lower() for table in tables)
        self._names = self._tables | {column.name.lower() for table in tables for column in table.columns}

    def repairs(self, draft: Draft) -> Iterator[Repair]:
        """What parses, the cheapest first; ends when the search has gone on long enough."""
        until_s = time.monotonic() + BUDGET_S
        self._begin(draft)
        tidied_count = 0
        while self._heap and self.parses < PARSES_MAX and time.monotonic() < until_s:
            cost, _, dialect, found = heapq.heappop(self._heap)
            words = words_of(found.text)
            tidy = tidied(found, words) if len(words) <= WORDS_MAX else found
            if tidy is not found:
                tidied_count += 1
                if tidied_count > TIDIED_MAX:
                    return
                self._push(tidy, dialect, cost - found.cost)
                continue
            self.parses += 1
            statement, place = _parsed(found.text, dialect)
            # Some brackets that are never closed are passed over.
            statement = statement if _is_balanced(words) else None
            if statement is not None:
                pairs = pairwise(words)
                statement.meta[NAMED] = frozenset(two.text.lower() for one, two in pairs if one.upper == "AS")
                yield Repair(statement, dialect, found.changes, cost)
            elif self._may_expand(dialect) and len(words) <= WORDS_MAX and cost < COST_MAX:
                self.expanded += 1
                self._expand(found, dialect, words, place=place)

    def _may_expand(self, dialect: str) -> bool:
        return self.expanded < EXPANDED_MAX and (dialect == self.dialect or dialect in self._likely[:2])

    def _begin(self, draft: Draft) -> None:
        draft = self._quoted(draft)
        foreign = foreign_to(draft.text, self.dialect)
        self._push(draft, self.dialect, FOREIGN_COST if foreign else 0.0)
        likely = [one.dialect for one in detect(draft.text) if one.dialect != self.dialect]
        self._likely = likely
        for rank, name in enumerate(likely):
            self._push(draft, name, (0.4 if foreign else 1.5) + 0.1 * rank)
        for rank, name in enumerate(_OTHERS):
            if name not in (self.dialect, *likely):
                self._push(draft, name, 1.6 + 0.05 * rank)
        for cut in shorter(draft):
            self._push(cut, self.dialect, 0.5)

    def _quoted(self, draft: Draft) -> Draft:
        """Names of the schema that have blanks or hyphens in them take quotes."""
        quote = _QUOTES.get(self.dialect, '"')
        text = draft.text
        odd = [name for name in self._names if (" " in name or "-" in name) and name in text.lower()]
        for name in sorted(odd, key=len, reverse=True):
            pattern = rf"(?<![\w'\"`\[.-]){re.escape(name)}(?![\w'\"`\]-])"
            parts = re.split(r"('(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\])", text)
            parts[::2] = [
                re.sub(pattern, lambda match: quote + match[0] + quote, part, flags=re.IGNORECASE)
                for part in parts[::2]
            ]
            text = "".join(parts)
        if text == draft.text:
            return draft
        why = "A name with blanks or hyphens in it takes quotes."
        return draft.edited(text, change("quoted_name", draft.text, text, why=why), 0.5)

    def _push(self, draft: Draft, dialect: str, extra: float) -> None:
        if (draft.text, dialect) not in self._seen and draft.text:
            self._seen.add((draft.text, dialect))
            heapq.heappush(self._heap, (draft.cost + extra, len(self._seen), dialect, draft))

    def _expand(self, draft: Draft, dialect: str, words: list[Word], *, place: int | None) -> None:
        extra = 0.0 if dialect == self.dialect else 0.8
        escaped = _unescaped(draft, words) if dialect not in _ESCAPING else None
        if escaped is not None:
            self._push(escaped, dialect, extra)
        at = _word_at(words, place)
        for proposal in proposals(Stop(draft, words, at, self._names, self._tables, _QUOTES.get(dialect, '"'))):
            self._push(proposal, dialect, extra)


def _unescaped(draft: Draft, words: list[Word]) -> Draft | None:
    r"""`'It\'s'` is `'It''s'` where a backslash is a backslash."""
    changed = [word.saying(word.text.replace("\\'", "''")) if word.kind == "string" else word for word in words]
    text = text_of(changed)
    if text == draft.text:
        return None
    why = "An apostrophe inside a text is written twice; a backslash says nothing here."
    return draft.edited(text, change("quote", draft.text, text, why=why), 0.4)


def _parsed(text: str, dialect: str) -> tuple[exp.Expr | None, int | None]:
    """The statement; or where the parser stopped, None for the end or for nowhere."""
    if gate.depth(text) > gate.DEPTH_MAX:
        return None, None
    try:
        found = [one for one in sqlglot.parse(text, read=dialect) if one is not None]
    except ParseError as error:
        return None, _offset(text, error)
    except gate.UNREADABLE:
        return None, None
    if len(found) != 1 or not isinstance(found[0], _STATEMENTS):
        return None, None
    if any(not select.expressions for select in found[0].find_all(exp.Select)):
        return None, None
    return found[0], None


def parses(text: str, dialect: str) -> exp.Expr | None:
    """The one statement of a text that is whole as it stands; None where it is not."""
    draft, words = Draft(text), words_of(text)
    is_whole = _is_balanced(words) and tidied(draft, words) is draft
    return _parsed(text, dialect)[0] if is_whole else None


def _is_balanced(words: list[Word]) -> bool:
    level = sum((word.text == "(") - (word.text == ")") for word in words if word.kind == "sign")
    return level == 0 or any(word.kind == "open" for word in words)


def _offset(text: str, error: ParseError) -> int | None:
    details = error.errors[0] if error.errors else {}
    line, column = details.get("line"), details.get("col")
    if not isinstance(line, int) or not isinstance(column, int):
        return None
    before = text.split("\n")[: line - 1]
    return sum(len(one) + 1 for one in before) + column - 1


def _word_at(words: list[Word], offset: int | None) -> int:
    """The piece at an offset; the one after the last where the text ends too early, or an open quote."""
    opened = next((place for place, word in enumerate(words) if word.kind == "open"), len(words))
    if offset is None:
        return opened
    for place, word in enumerate(words):
        if word.start <= offset < word.start + len(word.text):
            return place
    return opened
