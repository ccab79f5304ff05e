"""A schema as people write it down: `person(id, name, age)` or `person: id, name, age`, a table a line."""

import re
from collections.abc import Iterator

from aiservice.core.errors import SchemaInvalid
from aiservice.sqlassist.schema.model import Column, ForeignKey, Table
from aiservice.sqlassist.schema.types import cut, kind_of, listed_values

_PART = r"""(?:"[^"\n]+"|`[^`\n]+`|\[[^\]\n]+\]|[\w$]+)"""
_ENTRY = re.compile(
    rf"""\s*(?:[-*]\s+)?(?:table\s+)?
    (?P<name>{_PART}(?:\.{_PART})*)\s*
    (?:\((?P<inner>(?:[^()]|\([^()]*\))*)\)|:\s*(?P<line>[^;\n]*)(?:;|\n|$))""",
    re.VERBOSE | re.IGNORECASE,
)
_PARTS = re.compile(_PART)
_COLUMN = re.compile(r"""(?P<name>"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)\s*:?\s*(?P<type>[^'"]*)""")
_REFERENCE = re.compile(
    r"""(?:\breferences|\bfk|->|\u2192)\s*(?:to\s+|:\s*)?"?(?P<table>\w+)"?\s*(?:[.(]\s*"?(?P<column>\w+))?""",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r",(?![^()]*\))")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*", re.DOTALL | re.MULTILINE)
_WORDS_MAX = 4
_GUESSES = (
    (re.compile(r"(^|_)(id|count|number|year|age|quantity)$", re.IGNORECASE), "INT"),
    (re.compile(r"(^|_)(date|day)$", re.IGNORECASE), "DATE"),
    (re.compile(r"(_at|timestamp|datetime)$", re.IGNORECASE), "TIMESTAMP"),
    (re.compile(r"(^|_)(price|amount|cost|total|rate|salary|weight|height)$", re.IGNORECASE), "DECIMAL"),
)


def read_listing(text: str) -> Iterator[Table]:
    """The tables of a list; raises `SchemaInvalid` with line and column of what is neither."""
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    position, is_empty = 0, True
    while position < len(text):
        if text[position].isspace() or text[position] in ";,":
            position += 1
            continue
        entry = _ENTRY.match(text, position)
        if entry is None or entry.end() == position:
            raise _invalid(text, position)
        yield _table(text, entry)
        position, is_empty = entry.end(), False
    if is_empty:
        raise SchemaInvalid("The schema has no table in it.", param="schema")


def _table(text: str, entry: re.Match[str]) -> Table:
    inner = entry["inner"] if entry["inner"] is not None else entry["line"]
    start = entry.start("inner") if entry["inner"] is not None else entry.start("line")
    columns: dict[str, Column] = {}
    key: tuple[str, ...] = ()
    foreign_keys: list[ForeignKey] = []
    for part in _SEPARATOR.split(inner):
        words = part.strip()
        match = _COLUMN.match(words)
        if match is None or len(match["type"].split()) > _WORDS_MAX + 6:
            raise _invalid(text, start)
        name, type_text = _bare(match["name"]), match["type"].strip()
        if re.search(r"primary\s+key|\bpk\b", type_text, re.IGNORECASE):
            key = (name,)
        reference = _REFERENCE.search(type_text)
        if reference is not None:
            held = (reference["column"],) if reference["column"] else ()
            foreign_keys.append(ForeignKey((name,), reference["table"], held))
        spelled = re.sub(
            r"(\bprimary\s+key|\bpk\b|\bnot\s+null|\bunique|\bfk\b.*|\breferences.*|->.*|\u2192.*)",
            "",
            type_text,
            flags=re.IGNORECASE,
        )
        first = spelled.split(" ")[0] if spelled.strip() else _guessed(name)
        columns[name.lower()] = Column(
            name,
            first.upper(),
            kind_of(first),
            is_nullable=name not in key,
            comment=cut(spelled.removeprefix(first).strip(" ,-")),
            values=listed_values(type_text),
        )
    name = _bare(_PARTS.findall(entry["name"])[-1])
    return Table(name, tuple(columns.values()), key, foreign_keys=tuple(foreign_keys))


def _guessed(name: str) -> str:
    """A list mostly tells no types: what the name is usually one of."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return next((type_name for pattern, type_name in _GUESSES if pattern.search(snake)), "")


def _bare(name: str) -> str:
    return name.strip('"`[]')


def _invalid(text: str, position: int) -> SchemaInvalid:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    shown = text[position : position + 40].splitlines()[0]
    return SchemaInvalid(
        f"The schema is neither CREATE TABLE statements nor a list such as 'person(id, name)': "
        f"line {line}, column {column}: {shown!r}.",
        param="schema",
    )
