"""Whether the package knows the measured data: no table, column or value of it may be a string in the code.

Words that any database may have, and that general rules of English need, are listed in common_words.txt.
"""

import ast
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlrows

PACKAGE = Path(__file__).resolve().parents[1] / "aiservice" / "sqlassist"
COMMON = Path(__file__).resolve().parent / "common_words.txt"
LETTERS_MIN = 3
_WORD = re.compile(r"[^\W\d_]+(?:_[^\W\d_]+)*")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\s.-]+")


@dataclass(frozen=True, slots=True)
class Literal:
    """A string of the code and where it stands."""

    path: Path
    line: int
    text: str


@cache
def common_words(*, swapped: bool = True) -> frozenset[str]:
    """One a line, in lower case; a line may say after # why a word is needed. Without those marked swapped if asked."""
    lines = COMMON.read_text(encoding="utf-8").splitlines()
    parts = [line.partition("#") for line in lines]
    return frozenset(word for before, _, why in parts if (word := before.strip()) and (swapped or "swapped" not in why))


def words_of(name: str) -> list[str]:
    """The words that a name is put together of, in lower case."""
    return [part.lower() for part in _HUMPS.split(name) if part]


def names_and_values(folder: Path) -> frozenset[str]:
    """Every table, column, word of one of their names, and text cell of a data folder, in lower case."""
    found: set[str] = set()
    for path in sorted(folder.glob("db/**/*.sqlite")):
        with sqlrows.opened(path) as connection:
            for text in _texts(connection):
                found.add(text.strip().lower())
    return frozenset(text for text in found if len(text) >= LETTERS_MIN and not _is_number(text))


def _texts(connection: sqlite3.Connection) -> Iterator[str]:
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        yield from (table, *words_of(table))
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        for column in columns:
            yield from (column, *words_of(column))
            cells = connection.execute(f'SELECT DISTINCT "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\'')
            yield from (row[0] for row in cells)


def _is_number(text: str) -> bool:
    """Numbers, dates and times are nobody's words."""
    return not any(character.isalpha() for character in text)


def literals_in(package: Path = PACKAGE) -> Iterator[Literal]:
    """Every string of the code but docstrings; f-strings in parts."""
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield Literal(path, node.lineno, node.value)


def known(folder: Path, package: Path = PACKAGE) -> list[tuple[Literal, str]]:
    """Each string of the code that is or has in it, as a word, something of the data that is not common."""
    forbidden = names_and_values(folder) - common_words()
    found = []
    for literal in literals_in(package):
        text = literal.text.strip().lower()
        parts = {text, *text.split(), *(match.group() for match in _WORD.finditer(text))}
        found += [(literal, part) for part in sorted(parts & forbidden)]
    return found
