"""A statement's text in pieces, told apart without knowing whether it is right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["word", "quoted", "string", "number", "sign", "open"]
_PIECE = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>'(?:[^'\\]|''|\\.)*')
    |(?P<quoted>"(?:[^"]|"")*"|`[^`]*`|\[[A-Za-z_][^\[\]\n]*\])
    |(?P<open>['"`])
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z_]))
    |(?P<word>[^\W\d][\w$]*|[@:$][A-Za-z_]\w*|\d\w+)
    |(?P<sign><=>|<>|!=|<=|>=|==|\|\||::|->>|->|!~\*|~\*|!~|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of the text; `space` is what stands before it, comments too. `open` is a quote that nothing closes."""

    text: str
    kind: Kind
    start: int
    space: str = ""

    @property
    def upper(self) -> str:
        """What it is as a keyword: empty for what cannot be one."""
        return self.text.upper() if self.kind == "word" else ""

    def saying(self, text: str) -> "Word":
        return replace(self, text=text)


def words_of(text: str) -> list[Word]:
    """The pieces of a text; what follows an unclosed quote is read as if the quote were not there."""
    found: list[Word] = []
    position, space = 0, ""
    while position < len(text):
        if text[position].isspace():
            space += text[position]
            position += 1
            continue
        match = _PIECE.match(text, position)
        assert match is not None
        kind = match.lastgroup or "sign"
        if kind == "comment":
            space += match[0]
        else:
            found.append(Word(match[0], kind, position, space))  # type: ignore[arg-type]  # a group of the pattern
            space = ""
        position = match.end()
    return found


def text_of(words: Sequence[Word]) -> str:
    """The text again; a piece that was put in has a blank before it."""
    return "".join(word.space + word.text for word in words).strip()


def depths(words: Sequence[Word]) -> list[int]:
    """How many brackets are open before each piece."""
    level, found = 0, []
    for word in words:
        if word.text == ")" and word.kind == "sign":
            level -= 1
        found.append(level)
        if word.text == "(" and word.kind == "sign":
            level += 1
    return found


def new(text: str, kind: Kind = "word") -> Word:
    """A piece that was not in the text."""
    return Word(text, kind, -1, " ")
