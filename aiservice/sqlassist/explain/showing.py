"""How a stranger's names, values and SQL stand in our sentences: one line, of bounded length."""

import re

from sqlglot import exp

NAME_CHARACTERS_MAX = 80
VALUE_CHARACTERS_MAX = 200
SQL_CHARACTERS_MAX = 160
_UNSEEN = re.compile(r" *[\x00-\x1f\x7f\u0085\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+ *")
_PLAIN = re.compile(r"[\w$#@.]+(?:[ -][\w$#@.]+){0,3}")


def shown_name(name: str) -> str:
    """A name as it is where it looks like one, else quoted and cut."""
    if len(name) <= NAME_CHARACTERS_MAX and _PLAIN.fullmatch(name):
        return name
    return '"' + _line(name, NAME_CHARACTERS_MAX).replace('"', "'") + '"'


def shown_value(value: str) -> str:
    """A text constant in quotes."""
    return f"'{_line(value, VALUE_CHARACTERS_MAX)}'"


def shown_sql(node: exp.Expr, dialect: str) -> str:
    """A piece of SQL without its comments."""
    return f"`{_line(node.sql(dialect=dialect, comments=False), SQL_CHARACTERS_MAX).replace('`', chr(39))}`"


def _line(text: str, characters_max: int) -> str:
    line = _UNSEEN.sub(" ", text)
    return line if len(line) <= characters_max else line[: characters_max - 3] + "..."
