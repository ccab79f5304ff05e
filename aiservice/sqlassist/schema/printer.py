"""A schema as text for a model's prompt: everything in it is data."""

import re
from collections.abc import Iterable

from aiservice.sqlassist.schema.model import Column, Table
from aiservice.sqlassist.schema.types import cut, one_line

VALUES_MAX = 5
VALUE_CHARACTERS_MAX = 40
TYPE_CHARACTERS_MAX = 40
_FENCE = re.compile(r"[*/]*(?:\*/|/\*)[*/]*|-{2,}|<[|/]?|[|]?>|\[/?INST\]|#{2,}")
_MARKS = str.maketrans({"<": "\u2039", ">": "\u203a", "`": "'"})
_QUOTES = str.maketrans({'"': "", "'": "", "`": "", ";": ",", "<": "\u2039", ">": "\u203a"})


def printed(tables: Iterable[Table]) -> str:
    """CREATE TABLE statements, names quoted; comments are one line of at most 80 harmless characters."""
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    lines = [f"  {_quoted(column.name)} {_type(column)}{_comment(column)}" for column in table.columns]
    if table.primary_key:
        lines.append(f"  PRIMARY KEY ({_listed(table.primary_key)})")
    lines += [
        f"  FOREIGN KEY ({_listed(key.columns)}) REFERENCES {_quoted(key.table)} ({_listed(key.references)})"
        for key in table.foreign_keys
    ]
    remark = f" /* {words} */" if (words := _harmless(table.comment)) else ""
    return f"CREATE TABLE {_quoted(table.name)} ({remark}\n" + ",\n".join(lines) + "\n);"


def _type(column: Column) -> str:
    text = column.type if all(part.isalnum() or part in "(), " for part in column.type) else column.kind
    return text[:TYPE_CHARACTERS_MAX] or "TEXT"


def _comment(column: Column) -> str:
    words = _harmless(column.comment)
    values = ", ".join(map(_value, column.values[:VALUES_MAX]))
    parts = [part for part in (words, f"for example: {values}" if values else "") if part]
    return f" /* {'; '.join(parts)} */" if parts else ""


def _value(value: str) -> str:
    parts = (_harmless(part) for part in value[:VALUE_CHARACTERS_MAX].split("'"))
    return "'" + "''".join(parts) + "'"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    """A name; one with the marks that prompts are made of is nobody's honest name."""
    return '"' + cut(name).translate(_MARKS).replace('"', '""') + '"'


def _harmless(text: str) -> str:
    """A stranger's text within a comment of ours: it cannot end it, and has no quotes or fences."""
    return one_line(_FENCE.sub(" ", cut(text)).translate(_QUOTES))
