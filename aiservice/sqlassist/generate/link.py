"""Which words of a question stand for what: tables, columns, values, numbers, dates, and words that say what to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from aiservice.sqlassist.generate import vocabulary as english
from aiservice.sqlassist.generate.dates import Window, window_at, year_of
from aiservice.sqlassist.generate.definitions import Definition
from aiservice.sqlassist.generate.lexicon import Lexicon, Ref, content
from aiservice.sqlassist.generate.words import Word, meaning, stem, words_of
from aiservice.sqlassist.schema import Schema, ValueIndex

SPAN_MAX = 6
_GLUE = frozenset({"of", "the"})


@dataclass(frozen=True, slots=True)
class Mark:
    """A span of words and what it stands for; `kind` is one letter.

    T table, C column, V value, Q quoted text, N number, D dates, A aggregate, K count, G and L greater and less, S the
    most of something, E each, X distinct, H top, O order, d direction, y by, B between, n no, & and, | or, f of, r
    relative word, p preposition, h have, H definition, w harmless, u unknown, and the marks of the text themselves.
    """

    kind: str
    start: int
    end: int
    text: str
    word: str = ""
    attribute: str = ""
    tables: tuple[str, ...] = ()
    refs: tuple[tuple[Ref, float], ...] = ()
    values: tuple[tuple[Ref, str], ...] = ()
    window: Window | None = None
    definition: Definition | None = None
    is_sure: bool = True


def _operators() -> Mapping[str, tuple[str, str, str]]:
    found: dict[str, tuple[str, str, str]] = {}
    for text in english.COUNTS:
        found[text] = ("K", "count", "")
    for text, name in english.AGGREGATES.items():
        found[text] = ("A", name, "")
    for table, kind, word in (
        (english.HIGHEST, "S", "desc"), (english.LOWEST, "S", "asc"), (english.ABOVE, "G", ">"),
        (english.BELOW, "G", "<"), (english.AT_LEAST, "G", ">="), (english.AT_MOST, "G", "<="),
    ):  # fmt: skip
        for text, attribute in table.items():
            found[text] = (kind, word, attribute)
    for kind, texts in english.SIGNS:
        letter, _, word = kind.partition(":")
        for text in texts:
            found.setdefault(text, (letter, word, ""))
    for text, attribute in english.MEASURED.items():
        found[text] = ("a", "", attribute)
    for text, word in {">": ">", "<": "<", ">=": ">=", "<=": "<=", "=": "=", "!=": "!="}.items():
        found[text] = ("G", word, "")
    return found


OPERATORS = _operators()


class Linker:
    """Links one question."""

    def __init__(
        self, lexicon: Lexicon, values: ValueIndex, definitions: Sequence[Definition], *, context: str = ""
    ) -> None:
        self._context = frozenset(word.stem for text in (context, context.replace("_", " ")) for word in words_of(text))
        self._lexicon = lexicon
        self._values = values
        self._definitions = definitions
        self.schema: Schema = lexicon.schema

    def marks(self, words: Sequence[Word]) -> Sequence[Mark]:
        """The question from left to right, at each place the longest span that stands for something."""
        found: list[Mark] = []
        place = 0
        while place < len(words):
            mark = self._best(words, place)
            found.append(mark)
            place = mark.end
        return found

    def _best(self, words: Sequence[Word], place: int) -> Mark:
        word = words[place]
        if word.kind == "quoted":
            return self._quoted(word, place)
        if word.kind != "mark":
            window = window_at(words, place)
            if window is not None:
                return Mark("D", place, place + window.length, window.text, window=window)
        if word.kind == "number":
            return Mark("N", place, place + 1, word.text, values=self._found(word.text) if year_of(word.text) else ())
        if _is_imperative(words, place):
            return Mark("w", place, place + 1, word.text)
        defined = self._defined(words, place)
        options = [mark for mark in (self._named(words, place), self._valued(words, place)) if mark is not None]
        operator = _operator(words, place)
        if operator is not None and operator.kind == "A" and operator.end > place + 1:
            inner = self._named(words, place + 1)
            if inner is not None and inner.refs and inner.refs[0][1] >= 1:
                operator = _operator(words[: place + 1], place) or operator
        best = max(options, key=lambda mark: (_size(words, mark), mark.kind == "C"), default=None)
        if defined is not None and (best is None or _size(words, defined) >= _size(words, best)):
            return defined
        if (
            best is not None
            and best.kind == "C"
            and operator is not None
            and operator.kind in "AS"
            and best.end == operator.end
        ):
            return best
        if operator is not None and (best is None or _size(words, best) < max(_size(words, operator), 1)):
            return operator
        if best is not None and not (best.kind == "V" and operator is not None and best.end <= operator.end):
            return best
        if operator is not None:
            return operator
        plain = _plain(word, place)
        return (
            replace(plain, kind="w", is_sure=False)
            if plain.kind == "u" and word.stem in self._context and not word.text.isupper()
            else plain
        )

    def _quoted(self, word: Word, place: int) -> Mark:
        values = self._found(word.text)
        is_told = any(True for _ in self._told(word.text))
        return Mark("V" if values else "Q", place, place + 1, word.text, "told" if is_told else "quoted", values=values)

    def _told(self, text: str) -> Iterator[Ref]:
        for definition in self._definitions:
            if definition.value.lower() == text.lower():
                yield from definition.refs

    def _defined(self, words: Sequence[Word], place: int) -> Mark | None:
        best: Mark | None = None
        for definition in self._definitions:
            wanted = definition.words
            if not wanted:
                continue
            end = place
            seen: set[str] = set()
            while end < len(words) and words[end].kind in ("word", "number"):
                part = meaning(words[end].lower) if words[end].kind == "word" else words[end].stem
                if part in wanted:
                    seen.add(part)
                elif words[end].lower not in english.HARMLESS or end == place:
                    break
                end += 1
                if seen == set(wanted):
                    break
            if seen == set(wanted) and (best is None or end > best.end):
                text = " ".join(one.text for one in words[place:end])
                kind = "C" if definition.is_columns else ("V" if definition.value else "F")
                refs = tuple((ref, 1.5) for ref in definition.refs)
                values = tuple((ref, definition.value) for ref in definition.refs) if definition.value else ()
                best = Mark(kind, place, end, text, refs=() if values else refs, values=values, definition=definition)
        return best

    def _named(self, words: Sequence[Word], place: int) -> Mark | None:
        if words[place].lower in _GLUE or words[place].kind != "word":
            return None
        for end in range(min(len(words), place + SPAN_MAX), place, -1):
            span = words[place:end]
            if any(word.kind != "word" for word in span) or span[-1].lower in _GLUE:
                continue
            said = content([word.lower for word in span])
            tables = self._lexicon.tables(said)
            refs = self._lexicon.columns(said, frozenset(word.stem for word in span))
            if not tables and len(span) == 1 and span[0].lower in english.HARMLESS:
                continue
            known = OPERATORS.get(" ".join(word.lower for word in span))
            is_named = (
                known is not None and known[0] in "AS" and refs and refs[0][1] >= 1 and not self._governs(words, end)
            )
            if is_named:
                return Mark("C", place, end, span[0].text, refs=tuple(refs))
            if known is not None and (known[0] in "ASKGFdB" or (not tables and refs and refs[0][1] < 1)):
                continue
            if len(said) > 1 and not tables and refs[:1] and refs[0][1] < 0.75 and self._lexicon.tables(said[:1]):
                continue
            if len(span) == 1 and not tables and refs and refs[0][1] < 1 and _is_relation(span[0]):
                continue
            if tables or refs:
                text = " ".join(word.text for word in span)
                kind = "C" if not tables else "M" if refs else "T"
                return Mark(kind, place, end, text, tables=tuple(tables), refs=tuple(refs))
        return None

    def _governs(self, words: Sequence[Word], place: int) -> bool:
        """Whether a column comes next, which a word like `total` or `highest` then is about."""
        for word in words[place : place + 8]:
            known = OPERATORS.get(word.lower)
            if word.lower in english.HARMLESS or word.text == "," or (known is not None and known[0] in "ASK&fX"):
                continue
            if word.kind != "word":
                return False
            said = content([word.lower])
            return bool(self._lexicon.columns(said)) or known is not None
        return False

    def _valued(self, words: Sequence[Word], place: int) -> Mark | None:
        for end in range(min(len(words), place + SPAN_MAX), place, -1):
            span = words[place:end]
            if any(word.kind == "mark" and word.text not in ",'s" for word in span) or span[-1].kind == "mark":
                continue
            text = " ".join(word.text for word in span)
            if len(span) == 1 and (text.lower() in english.HARMLESS or len(text) < 2):
                continue
            found = self._found(text)
            if not found and len(span) == 1 and text.lower() in english.DEMONYMS:
                found = self._found(english.DEMONYMS[text.lower()])
            if not found and len(span) == 1 and text.lower() in english.GENDERS:
                found = self._gender(text.lower())
            if found:
                is_told = any(True for _ in self._told(text))
                return Mark("V", place, end, text, "told" if is_told else "", values=found)
        return None

    def _found(self, text: str) -> tuple[tuple[Ref, str], ...]:
        told = tuple((ref, text) for ref in self._told(text))
        return told or tuple(
            (Ref(one.table, one.column), one.value) for one in self._values.find(text) if one.score >= 0.95
        )

    def _gender(self, word: str) -> tuple[tuple[Ref, str], ...]:
        named = [ref for ref, score in self._lexicon.columns([meaning("gender")]) if score >= 1]
        if not named:
            return next((found for value in english.GENDERS[word] if (found := self._found(value))), ())
        told = []
        for ref in named:
            table = self.schema.table(ref.table)
            column = None if table is None else table.column(ref.column)
            known = column.values if column is not None else ()
            value = next((one for one in english.GENDERS[word] if one in known), english.GENDERS[word][0])
            told.append((ref, value))
        return tuple(told)


def _is_imperative(words: Sequence[Word], place: int) -> bool:
    """`State the`, `Name the`, `Order the`: what is a noun elsewhere."""
    is_first = place == 0 or words[place - 1].text in ".?!;"
    following = words[place + 1].lower if place + 1 < len(words) else ""
    return is_first and words[place].lower in ("state", "name", "list") and following in ("the", "all", "each", "every")


def _operator(words: Sequence[Word], place: int) -> Mark | None:
    for end in range(min(len(words), place + 5), place, -1):
        text = " ".join(word.lower for word in words[place:end])
        known = OPERATORS.get(text)
        if known is None and end == place + 1 and words[place].kind == "word":
            known = OPERATORS.get(stem(text)) if stem(text) in ("contain", "include") else None
        if known is not None:
            return Mark(known[0], place, end, text, known[1], known[2])
    return None


def _plain(word: Word, place: int) -> Mark:
    if len(word.text) == 1 and word.text.isalpha() and word.text.isupper() and place and word.text != "I":
        return Mark("Q", place, place + 1, word.text)
    if word.kind == "mark":
        return Mark(
            "." if word.text in ".?!;" else word.text[:1] if word.text in ",:()%" else "w", place, place + 1, word.text
        )
    is_known = word.lower in english.HARMLESS or word.stem in ("have", "do", "be") or len(word.lower) < 2
    if is_known:
        return Mark("h" if word.stem == "have" else "w", place, place + 1, word.text)
    if _is_relation(word):
        return Mark("w", place, place + 1, word.text, is_sure=False)
    return Mark("u", place, place + 1, word.text)


def _is_relation(word: Word) -> bool:
    return any(one in english.RELATIONS for one in (word.stem, word.lower, f"{word.stem}e"))


def _size(words: Sequence[Word], mark: Mark) -> int:
    return sum(word.lower not in _GLUE for word in words[mark.start : mark.end])


def with_context(mark: Mark, table: str) -> Mark:
    """The mark with the columns of one table only."""
    kept = tuple((ref, score) for ref, score in mark.refs if ref.table == table)
    return replace(mark, refs=kept) if kept else mark
