"""Which cell a phrase may mean: exact values first, then those that look like it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from aiservice.sqlassist.schema.keys import singular
from aiservice.sqlassist.schema.model import Column, Schema, Table

NEAR = 85.0
CANDIDATES_MAX = 200
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A value that a phrase may mean; `score` 0..1, 1 for the same text but for its case."""

    table: str
    column: str
    value: str
    score: float


class ValueIndex:
    """The known values of a schema's columns, by their text and by their trigrams."""

    def __init__(self, schema: Schema) -> None:
        self._exact: dict[str, list[tuple[Table, Column, str]]] = {}
        self._grams: dict[str, list[str]] = {}
        for table in schema.tables:
            for column in table.columns:
                for value in column.values:
                    self._exact.setdefault(normal(value), []).append((table, column, value))
        for text in self._exact:
            for gram in _grams(text):
                self._grams.setdefault(gram, []).append(text)

    def find(self, phrase: str) -> Sequence[Match]:
        """The matches of a phrase, best first."""
        text = normal(phrase)
        if not text:
            return ()
        found = list(self._matches(text, 1.0))
        if found:
            return found
        stem = " ".join(map(singular, text.split()))
        if stem != text:
            found = list(self._matches(stem, 0.95))
        return found or list(self._near(text))

    def _matches(self, text: str, score: float) -> Iterator[Match]:
        for table, column, value in self._exact.get(text, ()):
            yield Match(table.name, column.name, value, score)

    def _near(self, text: str) -> Iterator[Match]:
        if len(text) < 5:
            return
        counts: dict[str, int] = {}
        for gram in _grams(text):
            for other in self._grams.get(gram, ())[:CANDIDATES_MAX]:
                counts[other] = counts.get(other, 0) + 1
        best = sorted(counts, key=lambda other: -counts[other])[:8]
        scored = sorted(((fuzz.ratio(text, other), other) for other in best), reverse=True)
        for score, other in scored:
            if score >= NEAR:
                yield from self._matches(other, score / 110)


@lru_cache(maxsize=16)
def index_of(schema: Schema) -> ValueIndex:
    """The index of a schema, made once."""
    return ValueIndex(schema)


def normal(text: str) -> str:
    """Words in lower case, a blank between."""
    return " ".join(_WORD.findall(text.lower()))


def _grams(text: str) -> Mapping[str, None]:
    padded = f"  {text} "
    return dict.fromkeys(padded[start : start + 3] for start in range(len(padded) - 2))
