"""Which cell a phrase may mean: exact values first, then those that look like it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from aiservice.sqlassist.schema.keys import singular
from aiservice.sqlassist.schema.model import Schema

NEAR = 85.0
NEAR_WORD = 78.0
CHARACTERS_MIN = 5
CANDIDATES_MAX = 400
WORDS_MAX = 8
FOUND_MAX = 20
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A value that a phrase may mean.

    `score` 0..1: 1 for the same text but for its case, 0.95 for another number of the same noun, from 0.77 on for one
    that is spelled nearly like it, below that for one that has all words of the phrase and others.
    """

    table: str
    column: str
    value: str
    score: float


class ValueIndex:
    """The known values of a schema's columns by their text and their words, the words by their trigrams."""

    def __init__(self, schema: Schema) -> None:
        self._exact: dict[str, list[tuple[str, str, str]]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._by_word: dict[str, list[str]] = {}
        self._by_gram: dict[str, list[str]] = {}
        for table in schema.tables:
            for column in table.columns:
                for value in column.values:
                    self._exact.setdefault(normal(value), []).append((table.name, column.name, value))
        for text in self._exact:
            words = dict.fromkeys(text.split())
            for word in words:
                self._by_word.setdefault(word, []).append(text)
            if text.endswith("s") or "s " in text:
                self._by_stem.setdefault(_stem(text), []).append(text)
        for word in self._by_word:
            if len(word) >= CHARACTERS_MIN - 1:
                for gram in _grams(word):
                    self._by_gram.setdefault(gram, []).append(word)

    def find(self, phrase: str) -> Sequence[Match]:
        """The matches of a phrase, best first; only the exact ones where there are any, 20 at most where not."""
        text = normal(phrase)
        if not text:
            return ()
        stem = _stem(text)
        exact = list(self._matches({text: 1.0}))
        if exact:
            return exact
        stems = dict.fromkeys((*((stem,) if stem in self._exact else ()), *self._by_stem.get(stem, ())), 0.95)
        return list(self._matches(stems)) or list(self._matches(self._near(text)))[:FOUND_MAX]

    def _matches(self, scores: Mapping[str, float]) -> Iterator[Match]:
        for text, score in scores.items():
            for table, column, value in self._exact.get(text, ()):
                yield Match(table, column, value, score)

    def _near(self, text: str) -> Mapping[str, float]:
        """Texts by their scores, best first: those nearly spelled so, and those that have all words of it."""
        words = text.split()
        if len(text) < CHARACTERS_MIN or len(words) > WORDS_MAX:
            return {}
        alike = [self._alike(word) for word in words]
        scores: dict[str, float] = {}
        for candidate in self._candidates(alike):
            ratio = fuzz.ratio(text, candidate)
            if ratio >= NEAR:
                scores[candidate] = ratio / 110
            elif all(any(one in candidate.split() for one in near) for near in alike):
                scores[candidate] = 0.75 * min(1.0, len(text) / len(candidate))
        return dict(sorted(scores.items(), key=lambda item: -item[1]))

    def _candidates(self, alike: Sequence[Sequence[str]]) -> Iterable[str]:
        """The texts that have the rarest of these words; of common words only some are looked at."""
        weights: dict[str, float] = {}
        for near in alike:
            for word in near:
                texts = self._by_word[word]
                for text in texts[: CANDIDATES_MAX // len(near)]:
                    weights[text] = weights.get(text, 0.0) + 1 / len(texts)
        return sorted(weights, key=lambda text: -weights[text])[:CANDIDATES_MAX]

    def _alike(self, word: str) -> Sequence[str]:
        """The words of values that this one may be."""
        known = [one for one in dict.fromkeys((word, singular(word))) if one in self._by_word]
        if known or len(word) < CHARACTERS_MIN - 1:
            return known
        counts: dict[str, int] = {}
        for gram in _grams(word):
            for other in self._by_gram.get(gram, ())[:CANDIDATES_MAX]:
                counts[other] = counts.get(other, 0) + 1
        best = sorted(counts, key=lambda other: -counts[other])[:WORDS_MAX]
        return [other for other in best if fuzz.ratio(word, other) >= NEAR_WORD]


@lru_cache(maxsize=4)
def index_of(schema: Schema) -> ValueIndex:
    """The index of a schema, made once."""
    return ValueIndex(schema)


def normal(text: str) -> str:
    """Words in lower case, a blank between."""
    return " ".join(_WORD.findall(text.lower()))


def _stem(text: str) -> str:
    return " ".join(map(singular, text.split()))


def _grams(word: str) -> Mapping[str, None]:
    padded = f" {word} "
    return dict.fromkeys(padded[start : start + 3] for start in range(len(padded) - 2))
