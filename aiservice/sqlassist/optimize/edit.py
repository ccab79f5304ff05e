"""A place where a rule fits, and what it would make of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.optimize.ground import Ground


@dataclass(frozen=True, slots=True)
class Edit:
    """`apply` changes the statement in place and gives the node that stands for `node` then."""

    node: exp.Expr
    why: str
    apply: Callable[[], exp.Expr]


Rule = Callable[[Ground], Iterator[Edit]]


def replacing(node: exp.Expr, new: exp.Expr, why: str) -> Edit:
    """The edit that puts a new node in a node's place."""

    def apply() -> exp.Expr:
        node.replace(new)
        return new

    return Edit(node, why, apply)


def changing(node: exp.Expr, change: Callable[[], None], why: str) -> Edit:
    """The edit that changes within a node."""

    def apply() -> exp.Expr:
        change()
        return node

    return Edit(node, why, apply)
