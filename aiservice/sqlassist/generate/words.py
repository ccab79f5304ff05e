"""A question as words: quoted texts, dates and numbers apart, each word with its stem."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from aiservice.sqlassist.generate.vocabulary import ABBREVIATIONS, MONTHS, NUMBERS, SYNONYMS
from aiservice.sqlassist.schema.keys import singular, tokens

_QUOTES: Mapping[str, str] = {'"': '"', "‘": "’", "“": "”", "`": "`"}
_TOKEN = re.compile(
    r"""(?P<quoted>"[^"]+"|‘[^’]+’|“[^”]+”|`[^`]+`|(?<!\w)'[^']*(?:'\w[^']*)*'(?!\w))"""
    r"""|(?P<date>\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}/\d{1,2}/\d{4})"""
    r"""|(?P<number>\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d+(?![\w]))"""
    r"""|(?P<word>\w+(?:[-'’.@]\w+)*)"""
    r"""|(?P<mark>>=|<=|!=|<>|[<>=.?!;,:()%])""",
    re.VERBOSE,
)
_IRREGULAR: Mapping[str, str] = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "feet": "foot", "made": "make",
    "has": "have", "had": "have", "sold": "sell", "bought": "buy", "held": "hold", "got": "get", "gave": "give",
    "took": "take", "won": "win", "paid": "pay", "spent": "spend", "ran": "run", "sang": "sing", "wrote": "write",
    "came": "come", "grew": "grow", "saw": "see", "taught": "teach", "led": "lead", "kept": "keep", "built": "build",
    "written": "write", "given": "give", "taken": "take", "born": "bear", "lent": "lend", "flew": "fly", "went": "go",
    "began": "begin", "does": "do", "did": "do", "done": "do", "sung": "sing", "matches": "match", "sent": "send",
    "status": "status", "analyses": "analysis", "countries": "country", "movies": "movie", "driven": "drive",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """One word, number, date, quoted text or mark of a question."""

    text: str
    kind: Literal["word", "number", "date", "quoted", "mark"]
    stem: str

    @property
    def lower(self) -> str:
        return self.text.lower()


def words_of(text: str) -> Sequence[Word]:
    """The words of a question; dates as ISO text, number words as numbers."""
    found = []
    for match in _TOKEN.finditer(text):
        kind, part = str(match.lastgroup), match.group()
        if kind == "quoted":
            found.append(Word(part[1:-1].strip(), "quoted", part[1:-1].strip().lower()))
        elif kind == "date":
            iso = _iso(part)
            found.append(Word(iso or part, "date" if iso else "word", iso or part))
        elif kind == "number":
            found.append(Word(part.replace(",", ""), "number", part.replace(",", "")))
        elif kind == "word":
            found += _split(part)
        else:
            found.append(Word(part, "mark", part))
    return _with_dates(found)


def _split(part: str) -> list[Word]:
    """`doctor's` is `doctor` and `'s`; `don't` is `do` and `not`."""
    lower = part.lower().replace("’", "'")
    if lower in NUMBERS:
        return [Word(str(NUMBERS[lower]), "number", str(NUMBERS[lower]))]
    if lower.endswith("n't"):
        return [Word("do", "word", "do"), Word("not", "word", "not")]
    if lower.endswith("'s"):
        return [_word(part[:-2]), Word("'s", "mark", "'s")]
    if lower.startswith("non-"):
        return [Word("not", "word", "not"), _word(part[4:])]
    if "-" in part and "@" not in part and not any(letter.isdigit() for letter in part):
        return [_word(piece) for piece in part.split("-") if piece]
    return [_word(part)]


def _word(text: str) -> Word:
    return Word(text, "word", stem(text.lower()))


def _iso(text: str) -> str | None:
    parts = [int(part) for part in re.split(r"[-/]", text)]
    year, month, day = parts if parts[0] > 31 else (parts[2], parts[0], parts[1])
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _with_dates(words: Sequence[Word]) -> Sequence[Word]:
    """`April 1, 2023` and `1 April 2023` are dates."""
    found: list[Word] = []
    place = 0
    while place < len(words):
        taken = [word for word in words[place : place + 4] if word.text not in {",", "of"}][:3]
        length = 4 if any(word.text in {",", "of"} for word in words[place : place + 3]) else 3
        numbers = [int(word.text) for word in taken if word.kind == "number" and word.text.isdigit()]
        names = [MONTHS[word.lower] for word in taken if word.lower in MONTHS]
        whole = None
        if len(taken) == 3 and len(numbers) == 2 and len(names) == 1 and taken[2].kind == "number":
            whole = _iso(f"{numbers[1]}-{names[0]}-{numbers[0]}") if numbers[1] > 1000 and numbers[0] <= 31 else None
        if whole is not None:
            found.append(Word(whole, "date", whole))
            place += length
        else:
            found.append(words[place])
            place += 1
    return found


def stem(word: str) -> str:
    """What a word and its other forms have in common, roughly."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = singular(word)
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= 3 and any(letter in "aeiouy" for letter in root):
            if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "ls":
                root = root[:-1]
            return root.removesuffix("e")
    return word if len(word) <= 3 else word.removesuffix("e")


def meaning(word: str) -> str:
    """A stem for comparing: synonyms and abbreviations are one."""
    known = SYNONYMS.get(word, word)
    return stem(SYNONYMS.get(singular(known), known))


def name_words(name: str) -> tuple[str, ...]:
    """The words of a name in the schema, abbreviations spelled out, stemmed."""
    whole = name.lower()
    if whole in ABBREVIATIONS:
        return tuple(meaning(part) for part in ABBREVIATIONS[whole].split())
    parts: list[str] = []
    for part in tokens(name):
        parts += ABBREVIATIONS.get(part, part).split()
    return tuple(meaning(part) for part in parts)
