"""The same cases with other nouns: names of tables and columns, questions, golds and cells, all exchanged alike.

A rule that knows the data by its words loses its score here; one that knows English keeps it. Common words stay.
"""

import json
import random
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlrows
import sqlscan
from sqlcases import Data

from aiservice.sqlassist.schema.keys import singular

PEOPLE = (
    "plumber", "gardener", "violinist", "juggler", "barber", "surveyor", "welder", "jeweller", "ferrier", "glazier",
    "tutor", "weaver", "carver", "archer", "sculptor", "falconer",
)  # fmt: skip
THINGS = (
    "lantern", "barrel", "saddle", "cushion", "kettle", "ladder", "magnet", "button", "tunnel", "pebble", "ribbon",
    "candle", "hammer", "basket", "feather", "marble", "spindle", "anvil", "bucket", "chisel", "drawer", "fiddle",
    "goblet", "helmet", "inkwell", "jigsaw", "kennel", "locket", "mitten", "napkin", "oyster", "paddle", "quiver",
    "rattle", "sandal", "teapot", "urn", "valve", "walnut", "yoke", "zipper", "acorn", "bonnet", "copper", "dagger",
    "ember", "fossil", "gasket", "hinge", "icicle", "jacket", "kernel", "lumber", "muffin", "noodle", "orchid",
    "parcel", "quilt", "raisin", "sickle", "thimble", "umbrella", "velvet", "wagon", "yarn", "zither", "bellow",
    "cobble", "dimple", "easel", "funnel", "gravel", "hatchet", "island", "jungle", "kimono", "lever", "mortar",
    "nozzle", "ottoman", "pulley", "riddle", "shovel", "trellis", "turnip", "vessel", "whistle", "bobbin", "crayon",
)  # fmt: skip
_PERSON = re.compile(r".{3,}(er|or|ee|ist|ian)$")
_NO_PERSON = frozenset("computer letter major number offer order paper quarter sector ticker tier".split())  # noqa: SIM905
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HUMP = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^A-Za-z]+")
# Words of SQL, which golds are written in.
_SQL = frozenset(
    """all and any as asc avg between by case cast count cross current date datetime day desc distinct else end except
    exists false from full group having hour in inner insert integer interval intersect is join julianday left like
    limit
    lower max min minute month not now null numeric offset on or order outer over partition primary rank real replace
    right round row second select set sqlite strftime substr sum table text then time timestamp true union unique upper
    using values varchar when where with year key foreign references create index check default constraint blob double
    float char int bigint boolean possible value rows number months days years ago local start end of""".split()  # noqa: SIM905
)
SHORT_MIN = 3


class Swap:
    """One database's nouns and what each becomes."""

    def __init__(self, names: Iterable[str], questions: Sequence[str], seed: int = 1) -> None:
        listed = list(dict.fromkeys(names))
        nouns = sorted({singular(word) for name in listed for word in sqlscan.words_of(name)})
        spoken = {word.lower() for question in questions for word in _TOKEN.findall(question)}
        kept = sqlscan.common_words(swapped=False) | _SQL
        self.nouns = _paired([one for one in nouns if _may_go(one, kept, spoken)], spoken | set(nouns), seed)
        parts = {part.lower() for name in listed for part in sqlscan.words_of(name)}
        self._short = {part for part in parts if len(part) >= SHORT_MIN and part not in kept}
        self._names = {name.lower(): self._split(name) for name in listed}

    def text(self, text: str) -> str:
        """Questions, statements, cells and names alike."""
        return _TOKEN.sub(lambda match: self._token(match[0]), text)

    def _token(self, token: str) -> str:
        known = self._names.get(token.lower())
        if known is None:
            return self._split(token)
        return known.lower() if token.islower() else known.upper() if token.isupper() and len(token) > 1 else known

    def _split(self, token: str) -> str:
        return "".join(self._word(part) for part in _HUMP.findall(token))

    def _word(self, word: str) -> str:
        lower = word.lower()
        new = self._other(lower)
        if new is None:
            return word
        return new.upper() if word.isupper() and len(word) > 1 else new.capitalize() if word[0].isupper() else new

    def _other(self, word: str) -> str | None:
        one = singular(word)
        if one in self.nouns:
            return self.nouns[one] if one == word else _plural(self.nouns[one])
        # What is short for one of the nouns is short for its other.
        longer = [noun for noun in self.nouns if noun.startswith(word)] if word in self._short else []
        return self.nouns[longer[0]][: len(word)] if len(longer) == 1 else None


def _plural(word: str) -> str:
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def _may_go(noun: str, kept: frozenset[str], spoken: set[str]) -> bool:
    """No common word, no abbreviation of two letters, and none that a question has in the form of a verb."""
    stem = noun.removesuffix("e")
    forms = {f"{stem}ed", f"{stem}ing", f"{noun}ed", f"{noun}ing"}
    return len(noun) >= SHORT_MIN and noun not in kept and _plural(noun) not in kept and not forms & spoken


def _paired(nouns: Sequence[str], taken: set[str], seed: int) -> Mapping[str, str]:
    """Each noun with one of its kind: people for people, for questions ask who they are."""
    chance = random.Random(seed)
    people = [word for word in chance.sample(PEOPLE, len(PEOPLE)) if word not in taken]
    things = [word for word in chance.sample(THINGS, len(THINGS)) if word not in taken]
    whole = [noun for noun in nouns if not _is_short(noun, nouns)]
    return {noun: (people if _is_person(noun) and people else things).pop() for noun in whole}


def _is_short(noun: str, nouns: Sequence[str]) -> bool:
    return sum(other.startswith(noun) for other in nouns) == 2


def _is_person(noun: str) -> bool:
    return noun in ("student", "member") or (_PERSON.match(noun) is not None and noun not in _NO_PERSON)


def swapped(data: Data, rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Data, list[dict[str, Any]]]:
    """Copies of the databases and the rows with other nouns, in this folder."""
    by_db: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_db.setdefault(row["db"], []).append(row)
    done = {}
    for listed in by_db.values():
        swap = Swap(_names(data, listed), [f"{row['question']} {row.get('hint', '')}" for row in listed])
        for name in {name for row in listed for name in row["dbs"]}:
            _copy(data.connection(name), folder / name, swap)
        done.update({row["id"]: _row(row, swap) for row in listed})
    (folder / "schemas.json").write_text(json.dumps({}), encoding="utf-8")
    return Data(folder), [done[row["id"]] for row in rows]


def _row(row: Mapping[str, Any], swap: Swap) -> dict[str, Any]:
    texts = {name: swap.text(row[name]) for name in ("question", "hint") if row.get(name)}
    return {**row, **texts, "golds": [swap.text(gold) for gold in row["golds"]]}


def _names(data: Data, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    connection = data.connection(rows[0]["dbs"][0])
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [*tables, *(row[1] for table in tables for row in connection.execute(f'PRAGMA table_info("{table}")'))]


def _copy(source: sqlite3.Connection, path: Path, swap: Swap) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as target:
        for name, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            target.execute(swap.text(sql))
            rows = source.execute(f'SELECT * FROM "{name}"').fetchall()
            cells = [tuple(swap.text(cell) if isinstance(cell, str) else cell for cell in row) for row in rows]
            if cells:
                places = ", ".join("?" * len(cells[0]))
                target.executemany(f'INSERT INTO "{swap.text(name)}" VALUES ({places})', cells)
        target.commit()


def broken_golds(data: Data, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Golds that do not run any more: none, when everything was exchanged alike."""
    found = []
    for row in rows:
        for gold in row["golds"]:
            with sqlrows.opened(data.folder / row["dbs"][0]) as connection:
                error = sqlrows.run(connection, gold).error
            if error is not None:
                found.append(f"{row['id']}: {error}: {gold}")
    return found
