"""A scripted capable model: proposals made of golds and of wrong statements, the same for the same seed.

Some questions it knows and mostly gets right, others it does not and mostly gets wrong, as models do. What is wrong is
wrong in the ways that models are: another question's statement, a name that is not there, another aggregate, a
condition that is missing, text that does not parse.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

COUNT = 8
KNOWN_SHARE = 0.6
SURE = 0.75
_AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX")
_AGGREGATE = re.compile(r"\b(count|sum|avg|min|max)\s*\(", re.IGNORECASE)
_WHERE = re.compile(r"\bwhere\b.*?(?=\bgroup\b|\border\b|\blimit\b|$)", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r"\bselect\s+(distinct\s+)?", re.IGNORECASE)


class ScriptedModel:
    """Callable with a row of generate.jsonl; gives `COUNT` statements."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], seed: int = 1) -> None:
        self._seed = seed
        self._golds: dict[str, list[str]] = {}
        for row in rows:
            self._golds.setdefault(row["db"], []).append(row["golds"][0])

    def __call__(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        chance = random.Random(f"{self._seed}/{row['id']}")
        is_known = chance.random() < KNOWN_SHARE
        share = SURE if is_known else 1 - SURE
        return tuple(
            _dressed(row["golds"][0], chance) if chance.random() < share else self._wrong(row, chance)
            for _ in range(COUNT)
        )

    def alone(self, row: Mapping[str, Any]) -> str:
        """What it would answer if asked once."""
        return self(row)[0]

    def _wrong(self, row: Mapping[str, Any], chance: random.Random) -> str:
        gold = row["golds"][0]
        ways: list[Callable[[str], str]] = [
            lambda _: chance.choice(self._golds[row["db"]]),
            lambda sql: _COLUMN.sub(r"SELECT \1 missing_column, ", sql, count=1),
            lambda sql: _AGGREGATE.sub(f"{chance.choice(_AGGREGATES)}(", sql, count=1),
            lambda sql: _WHERE.sub("", sql, count=1),
            lambda sql: sql.replace(")", "", 1) if ")" in sql else f"{sql} WHERE",
        ]
        return chance.choice(ways)(gold)


def _dressed(sql: str, chance: random.Random) -> str:
    """As models give it: in a code fence, with a semicolon, or bare."""
    return chance.choice((sql, f"{sql};", f"```sql\n{sql}\n```"))


def undressed(text: str) -> str:
    """What a caller without the machine would run."""
    return text.removeprefix("```sql").removesuffix("```").strip().rstrip(";")
