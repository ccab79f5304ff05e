"""What passes between the steps of a repair."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.model import Change

SHOWN_CHARACTERS_MAX = 160
# A statement's note of the names that it gives with AS.
NAMED = "named"


@dataclass(frozen=True, slots=True)
class Draft:
    """A text on its way to a statement: what was changed, and how much that is; 0 is the text as given."""

    text: str
    changes: tuple[Change, ...] = ()
    cost: float = 0.0

    def edited(self, text: str, change: Change, cost: float) -> "Draft":
        return Draft(text, (*self.changes, change), self.cost + cost)


@dataclass(frozen=True, slots=True)
class Repair:
    """A statement that parses in the asked dialect, on its way to one whose names are known.

    `source` is the dialect that the text was read in, the asked one or another.
    """

    statement: exp.Expr
    source: str
    changes: tuple[Change, ...] = ()
    cost: float = 0.0

    def edited(self, statement: exp.Expr, change: Change, cost: float) -> "Repair":
        return Repair(statement, self.source, (*self.changes, change), self.cost + cost)


def change(rule: str, before: str, after: str, *, why: str) -> Change:
    """A change whose texts are cut to one short line each."""
    return Change(rule, shown(before), shown(after), why)


def shown(text: str) -> str:
    """A piece of a statement for people to read: one line of at most 160 characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS_MAX else line[: SHOWN_CHARACTERS_MAX - 1] + "…"


def kept(drafts: Sequence[Draft], count: int) -> list[Draft]:
    """The cheapest ones, each text once."""
    best: dict[str, Draft] = {}
    for draft in sorted(drafts, key=lambda one: one.cost):
        best.setdefault(draft.text, draft)
    return list(best.values())[:count]
