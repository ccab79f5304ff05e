"""What a schema's tables and columns may be called in a question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from aiservice.sqlassist.generate.vocabulary import ABBREVIATIONS
from aiservice.sqlassist.generate.words import meaning, name_words, stem
from aiservice.sqlassist.schema import Column, Schema, Table
from aiservice.sqlassist.schema.keys import tokens

PART = 0.5
CANDIDATES_MAX = 600
REFS_MAX = 40
_Entry = TypeVar("_Entry")
_GLUE = frozenset({"of", "the"})
_WEAK = frozenset({"number", "count", "total"})
_LOOSE = frozenset({meaning("name"), meaning("number")})


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """A column of a table, both as the schema spells them."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Named:
    """A column with the words of its name that are its own, and those that are its table's."""

    ref: Ref
    own: frozenset[str]
    owners: frozenset[str]
    spelled: frozenset[str]


class Lexicon:
    """The words of a schema's names, made once a schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._columns: dict[str, list[Named]] = {}
        self._tables: dict[str, list[tuple[frozenset[str], str]]] = {}
        self._short = frozenset(
            part
            for table in schema.tables
            for name in (table.name, *(c.name for c in table.columns))
            for part in _cut(name)
        )
        prefix = _shared([name_words(table.name) for table in schema.tables])
        for table in schema.tables:
            words = name_words(table.name)[prefix:]
            for word in set(words):
                self._tables.setdefault(word, []).append((frozenset(words), table.name))
            for named in _columns(table, frozenset(words), prefix, short=self._short):
                for word in named.own | named.owners:
                    self._columns.setdefault(word, []).append(named)

    def tables(self, words: Sequence[str]) -> Sequence[str]:
        """The tables that these words name whole, else those whose name they end or begin."""
        asked = frozenset(words)
        near = self._near(self._tables, words)
        whole = [name for own, name in near if own == asked]
        if whole or len(words) > 1:
            return whole
        return [name for own, name in near if len(own) == 1 and _alike(next(iter(own)), words[0], self._short)]

    def columns(self, words: Sequence[str], said: frozenset[str] = frozenset()) -> Sequence[tuple[Ref, float]]:
        """The columns that these words name, with how much of the name is said; 1 for all of it.

        `said` are the words as they stand in the question: less for a name that only means the same.
        """
        asked = frozenset(words)
        found: dict[Ref, float] = {}
        for named in self._near(self._columns, words):
            own = {word for word in asked if _among(word, named.own, self._short)}
            rest = asked - own
            score = len(own) / max(len(named.own), 1)
            if not own or (own <= _WEAK and score < 1):
                continue
            owned = {word for word in rest if _among(word, named.owners, self._short)}
            if rest - owned and not (rest - owned <= _LOOSE and score >= 1):
                continue
            score += 0.1 * len(owned) - 0.1 * len(rest - owned)
            if score >= PART:
                if said and not said & named.spelled:
                    score -= 0.5
                found[named.ref] = max(found.get(named.ref, 0.0), score)
        return sorted(found.items(), key=lambda item: -item[1])[:REFS_MAX]

    def _near(self, index: Mapping[str, list[_Entry]], words: Sequence[str]) -> list[_Entry]:
        """What is indexed under the word that is rarest: whatever is meant has to have them all."""
        listed = [
            [entry for key in _keys(word) for entry in index.get(key, ())] for word in words if word not in _LOOSE
        ]
        filled = [entries for entries in listed if entries]
        if not filled:
            filled = [list(index.get(word, ())) for word in words]
        return min(filled, key=len)[:CANDIDATES_MAX] if filled else []


def _keys(word: str) -> Iterator[str]:
    yield word
    if len(word) >= 5:
        yield from (word[:3], word[:4])


def _cut(name: str) -> Iterator[str]:
    """The words of a name that may be others cut off."""
    return (part for part in tokens(name) if len(part) in (3, 4))


def _alike(part: str, word: str, short: frozenset[str]) -> bool:
    """The same, or the part is the word cut off after three or four letters."""
    return part == word or (part in short and len(word) >= 5 and word.startswith(part))


def _among(word: str, parts: frozenset[str], short: frozenset[str]) -> bool:
    return word in parts or any(_alike(part, word, short) for part in parts)


def _columns(table: Table, owners: frozenset[str], skipped: int, *, short: frozenset[str]) -> Iterator[Named]:
    named = [name_words(column.name) for column in table.columns]
    prefix = _shared(named) if len(named) > 1 else 0
    for column, words in zip(table.columns, named, strict=True):
        shared, rest = frozenset(words[skipped:prefix]), words[prefix:]
        own = frozenset(word for word in rest if not any(_alike(word, owner, short) for owner in owners))
        yield Named(Ref(table.name, column.name), own or frozenset(rest), owners | shared, _spelled(column.name))


def _shared(names: Sequence[tuple[str, ...]]) -> int:
    """How many first words all of the names have in common."""
    if len(names) < 2:
        return 0
    shortest = min(map(len, names))
    count = 0
    while count < shortest - 1 and len({name[count] for name in names}) == 1:
        count += 1
    return count


def _spelled(name: str) -> frozenset[str]:
    return frozenset(stem(part) for part in tokens(name)) | frozenset(
        stem(part) for token in (name, *tokens(name)) for part in ABBREVIATIONS.get(token.lower(), "").split()
    )


@lru_cache(maxsize=16)
def lexicon_of(schema: Schema) -> Lexicon:
    """The lexicon of a schema, made once."""
    return Lexicon(schema)


def kind_of_ref(schema: Schema, ref: Ref) -> Column:
    """The column itself."""
    table = schema.table(ref.table)
    column = None if table is None else table.column(ref.column)
    assert column is not None
    return column


def content(words: Sequence[str]) -> list[str]:
    """The words without articles, for comparing with names."""
    return [meaning(word) for word in words if word not in _GLUE]
