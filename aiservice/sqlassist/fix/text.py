"""Repairs of a text that does not parse: one change each, tried near the place where the parser stopped."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from rapidfuzz.distance import DamerauLevenshtein
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from aiservice.sqlassist.model import Change

KEYWORDS = (
    "SELECT", "DISTINCT", "FROM", "WHERE", "GROUP", "ORDER", "BY", "HAVING", "LIMIT", "OFFSET", "JOIN", "INNER", "LEFT",
    "RIGHT", "FULL", "OUTER", "CROSS", "NATURAL", "ON", "USING", "AND", "OR", "NOT", "IN", "EXISTS", "BETWEEN", "LIKE",
    "IS", "NULL", "AS", "ASC", "DESC", "UNION", "ALL", "INTERSECT", "EXCEPT", "CASE", "WHEN", "THEN", "ELSE", "END",
    "WITH", "CAST", "COUNT", "OVER", "PARTITION",
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z_]\w*")
_GAP = re.compile(r",\s*(?:,|\)|FROM\b|WHERE\b|GROUP\b|ORDER\b|HAVING\b|LIMIT\b|$)|\bSELECT\s*,", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")


@dataclass(frozen=True, slots=True)
class Repair:
    """A changed text, and the change that made it."""

    text: str
    change: Change


def repairs(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """Texts that one change away may parse, likeliest first. `known` are the schema's names in lower case."""
    for make in _MAKERS:
        yield from make(text, dialect, known)


def _keyword_typos(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """`SELCT`, `FORM`, `GROPU BY`: a word that is nobody's name and near a keyword."""
    spans = [match.span() for match in _QUOTED.finditer(text)]
    for match in _WORD.finditer(text):
        word = match[0]
        if word.upper() in KEYWORDS or any(start <= match.start() < end for start, end in spans):
            continue
        is_name = word.lower() in known
        for keyword, distance in _near_keywords(word):
            if not is_name or distance == 1 and len(keyword) > 3:
                changed = text[: match.start()] + keyword + text[match.end() :]
                why = f"{word} is no keyword and no name of the schema; {keyword} is one letter or two away."
                yield Repair(changed, Change("keyword", word, keyword, why))


def _near_keywords(word: str) -> Sequence[tuple[str, int]]:
    limit = 1 if len(word) <= 4 else 2
    near = [(keyword, DamerauLevenshtein.distance(word.upper(), keyword)) for keyword in KEYWORDS]
    return sorted(((keyword, distance) for keyword, distance in near if distance <= limit), key=lambda pair: pair[1])[:3]


def has_gap(text: str) -> bool:
    """Whether a list has an empty place, which sqlglot passes over and databases do not."""
    return _GAP.search(_QUOTED.sub("''", text)) is not None


def _commas(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """A comma too many before a keyword or another comma, or at the end of a list."""
    for match in re.finditer(r",(?=\s*(?:,|\)|FROM\b|WHERE\b|GROUP\b|ORDER\b|HAVING\b|LIMIT\b|$))", text, re.IGNORECASE):
        changed = text[: match.start()] + text[match.end() :]
        yield Repair(changed, Change("comma", ",", "", "A comma stands where nothing follows in the list."))
    for match in re.finditer(r"\b(SELECT|BY)\s*(,)", text, re.IGNORECASE):
        changed = text[: match.start(2)] + text[match.end(2) :]
        yield Repair(changed, Change("comma", ",", "", "A list does not begin with a comma."))


def _missing_commas(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    tokens = _tokens(text, dialect)
    for one, other in zip(tokens, tokens[1:], strict=False):
        ends_part = one.token_type in (TokenType.VAR, TokenType.R_PAREN, TokenType.IDENTIFIER, TokenType.STAR)
        if ends_part and (other.token_type in (TokenType.VAR, TokenType.IDENTIFIER) or _is_call(text, other)):
            changed = text[: one.end + 1] + "," + text[one.end + 1 :]
            yield Repair(changed, Change("comma", "", ",", f"A comma is missing between {one.text} and {other.text}."))


def _is_call(text: str, token: Token) -> bool:
    return text[token.end + 1 : token.end + 3].lstrip().startswith("(") and token.text.upper() not in KEYWORDS


def _parentheses(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """One bracket more or less: earliest place for a closing one, latest for an opening one."""
    tokens = _tokens(text, dialect)
    balance = sum((one.token_type == TokenType.L_PAREN) - (one.token_type == TokenType.R_PAREN) for one in tokens)
    if balance > 0:
        opened = _unmatched(tokens)
        for token in tokens[opened:]:
            yield _inserted(text, token.end + 1, ")")
        for token in tokens:
            if token.token_type == TokenType.L_PAREN:
                yield _removed(text, token)
    elif balance < 0:
        closed = _unmatched_closing(tokens)
        for token in reversed(tokens[: closed + 1]):
            yield _inserted(text, token.start, "(")
        for token in reversed(tokens):
            if token.token_type == TokenType.R_PAREN:
                yield _removed(text, token)


def _unmatched(tokens: Sequence[Token]) -> int:
    """The place of the last bracket that is opened and not closed."""
    open_at: list[int] = []
    for place, token in enumerate(tokens):
        if token.token_type == TokenType.L_PAREN:
            open_at.append(place)
        elif token.token_type == TokenType.R_PAREN and open_at:
            open_at.pop()
    return open_at[-1] if open_at else 0


def _unmatched_closing(tokens: Sequence[Token]) -> int:
    level = 0
    for place, token in enumerate(tokens):
        level += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if level < 0:
            return place
    return len(tokens) - 1


def _quotes(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """A quote that is opened and not closed: at the end of each word after it, the longest first wanted last."""
    for match in re.finditer(r"(?<=\w)'(?=\w)", text):
        changed = text[: match.start()] + "''" + text[match.end() :]
        yield Repair(changed, Change("quote", "'", "''", "An apostrophe inside a text is written twice."))
    for quote in ("'", '"', "`"):
        if text.count(quote) % 2 == 0:
            continue
        start = text.rfind(quote) if text.count(quote) == 1 else _odd_quote(text, quote)
        for match in re.finditer(r"[\w%.)-]+(?=\W|$)", text[start + 1 :]):
            place = start + 1 + match.end()
            yield Repair(
                text[:place] + quote + text[place:],
                Change("quote", text[start:place], text[start:place] + quote, "The text was opened and not closed."),
            )
        changed = text[:start] + text[start + 1 :]
        yield Repair(changed, Change("quote", quote, "", "A quote stands alone."))


def _odd_quote(text: str, quote: str) -> int:
    """Where the quote begins that has no end: the first whose text has a keyword in it, else the last."""
    places = [match.start() for match in re.finditer(re.escape(quote), text)]
    for start, end in zip(places[::2], places[1::2], strict=False):
        if re.search(r"\b(and|or|group|order|where|limit|from)\b", text[start:end], re.IGNORECASE):
            return start
    return places[-1]


def _stray(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """One word too many, at the end or anywhere; and a statement that breaks off."""
    tokens = _tokens(text, dialect)
    if len(tokens) > 3:
        last = tokens[-1]
        if last.text.upper() in KEYWORDS or last.token_type not in (TokenType.VAR, TokenType.NUMBER, TokenType.STRING):
            yield _removed(text, last)
    for one, other in zip(tokens, tokens[1:], strict=False):
        if one.text.upper() == other.text.upper() and one.text.upper() in KEYWORDS:
            yield _removed(text, other)


def _missing_words(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    """GROUP without BY, a list without SELECT, names without FROM."""
    for match in re.finditer(r"\b(GROUP|ORDER)\s+(?!BY\b)(?=\w)", text, re.IGNORECASE):
        yield _inserted(text, match.end(), "BY ")
    if not re.match(r"\s*(SELECT|WITH|\()", text, re.IGNORECASE) and re.search(r"\bFROM\b", text, re.IGNORECASE):
        yield _inserted(text, 0, "SELECT ")
    if not re.search(r"\bFROM\b", text, re.IGNORECASE):
        for match in _WORD.finditer(text):
            if match[0].lower() in known:
                yield _inserted(text, match.start(), "FROM ")


def _operators(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    for before, after in (("==", "="), ("=>", ">="), ("=<", "<="), ("!==", "!="), ("&&", " AND "), ("≥", ">="), ("≤", "<="), ("≠", "<>")):
        if before in text:
            why = f"{before} is no operator of SQL."
            yield Repair(text.replace(before, after), Change("operator", before, after, why))


def _typographic(text: str, dialect: str, known: frozenset[str]) -> Iterator[Repair]:
    changed = text.translate(str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "，": ",", "（": "(", "）": ")", "\\": ""}))
    if changed != text:
        yield Repair(changed, Change("quote", text[:80], changed[:80], "Typographic quotes and backslashes are not SQL."))


def _tokens(text: str, dialect: str) -> Sequence[Token]:
    try:
        return sqlglot.tokenize(text, read=dialect)
    except SqlglotError:
        return []


def _inserted(text: str, place: int, what: str) -> Repair:
    before, after = text[max(0, place - 20) : place], text[place : place + 20]
    why = f"{what.strip()} is missing here."
    return Repair(text[:place] + what + text[place:], Change("missing", before + after, before + what + after, why))


def _removed(text: str, token: Token) -> Repair:
    why = f"{token.text} is one too many."
    return Repair(text[: token.start] + text[token.end + 1 :], Change("stray", token.text, "", why))


_Maker = Callable[[str, str, frozenset[str]], Iterator[Repair]]
_MAKERS: Sequence[_Maker] = (
    _typographic,
    _operators,
    _keyword_typos,
    _commas,
    _quotes,
    _parentheses,
    _missing_words,
    _missing_commas,
    _stray,
)
