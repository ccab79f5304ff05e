"""A schema as text for a model's prompt: everything in it is data."""

from collections.abc import Iterable

from aiservice.sqlassist.schema.model import Column, Table
from aiservice.sqlassist.schema.types import cut

VALUES_MAX = 5
VALUE_CHARACTERS_MAX = 40


def printed(tables: Iterable[Table]) -> str:
    """CREATE TABLE statements, names quoted; comments are one line of at most 80 harmless characters."""
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    lines = [f"  {_quoted(column.name)} {_type(column)}{_comment(column)}" for column in table.columns]
    if table.primary_key:
        lines.append(f"  PRIMARY KEY ({', '.join(map(_quoted, table.primary_key))})")
    lines += [
        f"  FOREIGN KEY ({', '.join(map(_quoted, key.columns))}) REFERENCES {_quoted(key.table)} "
        f"({', '.join(map(_quoted, key.references))})"
        for key in table.foreign_keys
    ]
    return f"CREATE TABLE {_quoted(table.name)} (\n" + ",\n".join(lines) + "\n);"


def _type(column: Column) -> str:
    text = column.type if all(part.isalnum() or part in "(), " for part in column.type) else column.kind
    return text[:40] or "TEXT"


def _comment(column: Column) -> str:
    words = _harmless(column.comment)
    values = ", ".join(_harmless(value)[:VALUE_CHARACTERS_MAX] for value in column.values[:VALUES_MAX])
    parts = [part for part in (words, f"for example: {values}" if values else "") if part]
    return f" /* {'; '.join(parts)} */" if parts else ""


def _quoted(name: str) -> str:
    return '"' + cut(name).replace('"', '""') + '"'


def _harmless(text: str) -> str:
    return cut(text).replace("*/", "* /").replace("/*", "/ *").replace("`", "'")
