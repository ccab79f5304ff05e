"""Cuts DDL into words, names, texts and signs, whatever the dialect; comments stand beside the words they follow."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from aiservice.core.errors import SchemaInvalid

TokenKind = Literal["word", "name", "text", "number", "sign", "end"]
SHOWN_CHARACTERS = 40
# Those whose texts have backslashes for escapes.
ESCAPING = frozenset(
    "mysql bigquery clickhouse databricks spark spark2 hive snowflake doris starrocks drill".split()  # noqa: SIM905
)
_PLAIN_TEXT = r"'[^']*(?:''[^']*)*'"
_ESCAPED_TEXT = r"'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'"
_PATTERN = r"""
    (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z)|^[ \t]*\#[^\n]*)
    |(?P<end>;|^[ \t]*GO[ \t]*\r?$|^\\[^\n]*)
    |(?P<dollar>DOLLAR)
    |[NBXnbx]?(?P<text>TEXT)
    |[Ee](?P<escaped>ESCAPED)
    |(?P<name>"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`|(?<![\w\]\)])\[[^\]\n]{1,128}\])
    |(?P<number>\d[\w.]*)
    |(?P<word>[^\W\d][\w$\#]*|[@\#]+\w+)
    |(?P<sign>\S)
"""
_DOLLAR = r"\$(?P<tag>\w{0,40})\$.{0,200000}?\$(?P=tag)\$"
_FLAGS = re.VERBOSE | re.DOTALL | re.MULTILINE
_COPY = re.compile(r"^COPY\b[^;]{1,2000}\bFROM\s+stdin[^;\n]{0,200};[^\n]*\n", re.MULTILINE | re.IGNORECASE)
_END_OF_COPY = "\n\\."
# A text with more of them has no dollar quotes: each might otherwise be looked for until the end.
DOLLARS_MAX = 1_000
_TYPES_WITH_PARTS = frozenset({"STRUCT", "ARRAY", "MAP", "ROW", "TABLE"})
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NOT_LINE = re.compile(r"[^\n]")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


class Token(NamedTuple):
    """`text` is without its quotes; `upper` is what keywords are told by, empty for all but words and signs."""

    kind: TokenKind
    text: str
    upper: str
    start: int
    end: int


@dataclass
class Script:
    """The tokens of a text. `comments` are by the number of the token that they follow."""

    text: str
    tokens: list[Token] = field(default_factory=list)
    comments: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    def invalid(self, position: int, why: str) -> SchemaInvalid:
        """The error for what stands at a position."""
        line = self.text.count("\n", 0, position) + 1
        column = position - (self.text.rfind("\n", 0, position) + 1) + 1
        shown = self.text[position : position + SHOWN_CHARACTERS].partition("\n")[0]
        return SchemaInvalid(
            f"The schema could not be read: line {line}, column {column}: {why}, found {shown or 'the end'!r}.",
            param="schema",
        )

    @cached_property
    def closing(self) -> dict[int, int]:
        """The number of each bracket's partner."""
        partners: dict[int, int] = {}
        waiting: list[int] = []
        for number, token in enumerate(self.tokens):
            if token.kind == "end":
                waiting.clear()
            elif token.upper in _OPENING:
                waiting.append(number)
            elif token.upper in _CLOSING and waiting:
                partners[waiting.pop()] = number
        return partners

    def parts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """From..to of what stands between the commas of a stretch, not of brackets in it."""
        first = number = start
        angles = 0
        while number < end:
            upper = self.tokens[number].upper
            if upper in _OPENING:
                number = self.closing.get(number, number)
            elif upper == "<" and self.tokens[number - 1].upper in _TYPES_WITH_PARTS:
                angles += 1
            elif upper == ">" and angles:
                angles -= 1
            elif upper == "," and not angles:
                yield first, number
                first = number + 1
            number += 1
        yield first, end

    def remarks(self, start: int, end: int) -> str:
        """The comments about the tokens from..to: on its lines, in it, or, if there are none, on the lines before."""
        own = [text for number in range(start, end) for text, _ in self.comments.get(number, ())]
        last = self.tokens[end] if end < len(self.tokens) else None
        if last is not None and last.upper == ",":
            own += [text for text, at in self.comments.get(end, ()) if "\n" not in self.text[last.start : at]]
        if own:
            return " ".join(own)
        before = self.tokens[start - 1]
        return " ".join(text for text, at in self.comments.get(start - 1, ()) if "\n" in self.text[before.start : at])


def scan(text: str, dialect: str) -> Script:
    """Raises `SchemaInvalid` for a quote that nothing closes."""
    text = _without_rows(text)
    script = Script(text)
    is_escaping = dialect in ESCAPING
    tokens, comments = script.tokens, script.comments
    words: dict[str, tuple[str, str]] = {}  # each word's text is kept once
    for match in _pattern(is_escaping, text.count("$") <= DOLLARS_MAX).finditer(text):
        kind, found = match.lastgroup, match[0]
        start, end = match.span()
        if kind in ("word", "sign"):
            if found in "'\"`":
                raise script.invalid(start, "a quote is not closed")
            text_of, upper = words.get(found) or words.setdefault(found, (found, found.upper()))
            tokens.append(Token("word" if kind == "word" else "sign", text_of, upper, start, end))
        elif kind == "comment":
            comments.setdefault(len(tokens) - 1, []).append((_remark(found), start))
        elif kind == "name":
            tokens.append(Token("name", found[1:-1].replace(found[0] * 2, found[0]), "", start, end))
        elif kind in ("text", "escaped"):
            inner = found[found.index("'") + 1 : -1].replace("''", "'")
            tokens.append(Token("text", _ESCAPE.sub(r"\1", inner) if is_escaping else inner, "", start, end))
        elif kind == "number":
            tokens.append(Token("number", found, "", start, end))
        elif kind == "end":
            tokens.append(Token("end", found, "", start, end))
        else:
            tokens.append(Token("text", found, "", start, end))
    tokens.append(Token("end", "", "", len(text), len(text)))
    return script


@lru_cache(maxsize=4)
def _pattern(is_escaping: bool, has_dollars: bool) -> re.Pattern[str]:
    pattern = _PATTERN.replace("DOLLAR", _DOLLAR if has_dollars else r"(?!)")
    pattern = pattern.replace("ESCAPED", _ESCAPED_TEXT)
    return re.compile(pattern.replace("TEXT", _ESCAPED_TEXT if is_escaping else _PLAIN_TEXT), _FLAGS)


def _without_rows(text: str) -> str:
    """The rows that a dump has between COPY and a dot are blanks, so that places stay what they are."""
    pieces, position = [], 0
    while (copy := _COPY.search(text, position)) is not None:
        end = text.find(_END_OF_COPY, copy.end() - 1)
        if end < 0:
            break
        end += len(_END_OF_COPY)
        pieces += [text[position : copy.end()], _NOT_LINE.sub(" ", text[copy.end() : end])]
        position = end
    return "".join((*pieces, text[position:]))


def names_in(script: Script, start: int, end: int) -> tuple[str, ...]:
    """The first name of each part of a list: `(a DESC, b(10))` is a and b."""
    found: list[str] = []
    for first, last in script.parts(start, end):
        named: Sequence[Token] = [one for one in script.tokens[first:last] if one.kind in ("word", "name")]
        if named:
            found.append(named[0].text)
    return tuple(found)


def _remark(comment: str) -> str:
    if comment.startswith("/*"):
        return comment[2:].removesuffix("*/").strip(" \t\n*!")
    return comment.strip().lstrip("-#").strip()
