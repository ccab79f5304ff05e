"""What is to be asked of a database, apart from how a dialect says it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.generate.dates import Window
from aiservice.sqlassist.generate.lexicon import Ref


@dataclass(frozen=True, slots=True)
class Item:
    """A column, an aggregate of one, a formula, or the count of a table's rows (`table`); `ref` None is `*`."""

    ref: Ref | None = None
    aggregate: str = ""
    is_distinct: bool = False
    table: str = ""
    formula: exp.Expr | None = None
    ratio: "Ratio | None" = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`operator` is a comparison, `between`, `like`, or `not like`; one of several `values` is enough for `=`."""

    ref: Ref
    operator: str
    values: tuple[str, ...] = ()
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """One of the conditions is enough."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Versus:
    """A column compared with an aggregate of it over all rows."""

    ref: Ref
    operator: str
    aggregate: str


@dataclass(frozen=True, slots=True)
class Without:
    """No row of `table` that meets the conditions belongs to the row."""

    table: str
    conditions: tuple["Where", ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """A condition that the task's context spells out."""

    table: str
    expression: exp.Expr


@dataclass(frozen=True, slots=True)
class Best:
    """Only rows of the entity's row that comes first in an order."""

    ref: Ref
    key: Ref
    is_descending: bool


Where = Condition | Either | Versus | Without | Given | Best


@dataclass(frozen=True, slots=True)
class Ratio:
    """The rows that meet all of `upper` by those that meet all of `lower`, of any row where that is empty."""

    upper: tuple[Where, ...]
    lower: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class Having:
    """A group's aggregate compared with a number."""

    item: Item
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Order:
    item: Item
    is_descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """One query over tables joined from `root`; `also` is a second list of conditions that has to hold as well."""

    root: str
    select: tuple[Item, ...]
    where: tuple[Where, ...] = ()
    group: tuple[Ref, ...] = ()
    having: tuple[Having, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    is_distinct: bool = False
    tables: tuple[str, ...] = ()
    also: tuple[Where, ...] = ()


def tables_of(part: Where) -> Sequence[str]:
    """The tables that a condition reads in the query itself."""
    match part:
        case Condition() | Versus():
            return (part.ref.table,)
        case Either():
            return tuple(one.ref.table for one in part.conditions)
        case Given():
            return (part.table,)
        case Best():
            return (part.key.table,)
        case _:
            return ()
