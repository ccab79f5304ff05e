"""Finds where a model left out code that it was to write: "rest of the code", "existing code", a lone "..."."""

import re

from aiservice.nexus.protocol.body import extension

_LINE_CHARS_MAX = 300
_COMMENT = re.compile(r"\s*(?://+|/\*+|\{\s*/\*+|<!--|#+|--|;+)\s*(.*?)\s*(?:\*+/\s*\}?|-->)?\s*$")
_DOTS = re.compile(r"\s*(?:\.{3,}|…|\[\s*(?:\.{3,}|…)\s*\])[,;]?\s*$")
_WHAT = (
    r"(?:code|file|files|component|components|function|functions|class|styles?|css|html|markup|jsx|content|contents"
    r"|imports?|methods?|logic|implementation|template|script|page|app|props|state|handlers?|items|rules|routes|types)"
)
_LEFT_OUT = re.compile(
    rf"""(?:
        (?:the\s+|your\s+)?rest\s+of\s+(?:the\s+|your\s+|this\s+|my\s+)?(?:\w+\s+)?{_WHAT}\b
      | (?:the\s+|your\s+|all\s+|keep\s+|other\s+|previous\s+)*(?:existing|previous|remaining|original)\s+
            (?:\w+\s+)?{_WHAT}(?:\s+(?:here|goes\s+here|remains?|stays?|unchanged|as\s+before|above|below).*)?$
      | .*\b(?:remains?|stays?|kept|keep)\s+(?:exactly\s+)?(?:the\s+same|unchanged|as\s+is|as\s+before)\b
      | (?:the\s+)?(?:rest|everything\s+else)\s*(?:(?:is|remains|stays)\s+)?(?:unchanged|the\s+same|as\s+before)$
      | same\s+as\s+(?:before|above)\b | unchanged$ | (?:code|content)\s+omitted\b | omitted\s+for\s+brevity\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WITH_DOTS = re.compile(
    r"(?:rest|existing|remaining|previous|other|same|unchanged|omitted|more|before|similar|etc|as above)\b",
    re.IGNORECASE,
)
_PROSE = frozenset({"md", "mdx", "markdown", "txt"})
_MARKERS = re.compile(r"(?:<{7} ?(?:SEARCH|HEAD)|>{7} ?REPLACE)\s*$", re.IGNORECASE)


def elisions(path: str, text: str, *, before: str = "") -> tuple[int, ...]:
    """The numbers, from 1, of the lines that stand for code left out. A line that `before` has too stands for itself.

    Lines over 300 characters are code. In Markdown and plain text only comments count, and in Python `...` is code.
    """
    known = {line.strip() for line in before.split("\n")} if before else set()
    kind = extension(path)
    lines = enumerate(text.split("\n"), start=1)
    return tuple(number for number, line in lines if _is_elision(line, kind) and line.strip() not in known)


def _is_elision(line: str, kind: str) -> bool:
    if len(line) > _LINE_CHARS_MAX or not line.strip():
        return False
    if _MARKERS.match(line):
        return True
    if _DOTS.match(line):
        return kind not in _PROSE | {"py", "pyi"}
    comment = _COMMENT.match(line)
    if comment is None or (kind in _PROSE and not line.strip().startswith("<!--")):
        return False
    words = comment[1]
    plain = words.strip(" .…[]()-")
    if not plain:
        return "..." in words or "…" in words
    has_dots = words.startswith(("...", "…")) or words.endswith(("...", "…"))
    return _LEFT_OUT.match(plain) is not None or (has_dots and _WITH_DOTS.search(plain) is not None)
