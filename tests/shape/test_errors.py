"""One tree of errors, drawn where it is written, and nothing raised beside it."""

import ast
import builtins
import re
from collections.abc import Iterator, Mapping

import pytest

from aiservice.core import errors
from aiservice.core.errors import AIServiceError

TREE_FILE = "aiservice/core/errors.py"
# Signals inside one room, by room: they become an error of the tree, or nobody is left to answer.
SIGNALS: Mapping[str, frozenset[str]] = {
    "api": frozenset({"ClientGone"}),
    "cli": frozenset({"Failed"}),
    "engines": frozenset({"ConnectionBroken"}),
    "sqlassist": frozenset({"RunFailed", "Unjoined", "Untranslatable"}),
}
TYPES = frozenset(
    {
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "conflict_error",
        "rate_limit_error", "insufficient_quota", "engine_error", "overloaded_error", "server_error",
    }
)  # fmt: skip


def tree(root: type[AIServiceError] = AIServiceError) -> Iterator[type[AIServiceError]]:
    """Every class with a code of its own; a room's subclass that only carries facts speaks under its family's code."""
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
            yield from tree(child)


ERRORS = tuple(tree())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_says_what_it_is(error: type[AIServiceError]):
    assert error.__module__ == "aiservice.core.errors"
    assert len(error.__dict__["__doc__"]) > 20
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", error.__dict__["code"])
    assert 400 <= error.status <= 599
    assert error.type in TYPES
    assert error.title.endswith(".")


def test_codes_are_unique():
    codes = [error.code for error in ERRORS]

    assert sorted(codes) == sorted(set(codes))


def test_the_drawing_is_the_tree():
    drawn = re.findall(r"^[│ ]*[├└]── (\w+) +(\S+) +(\S+)$", errors.__doc__ or "", re.MULTILINE)

    assert drawn == [
        (error.__name__, error.code, "-" if error.code.startswith("start.") else str(error.status)) for error in ERRORS
    ]


def test_no_error_grows_outside_the_tree(house):
    """A room may subclass one of the tree to carry facts, without a code of its own, or keep a signal to itself."""
    ours = {AIServiceError.__name__, *(error.__name__ for error in ERRORS)}
    grown = {
        f"{module.room}.{node.name}"
        for module in house.modules
        if module.name != TREE_FILE
        for node in module.nodes
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if any(_is_foreign(base) for base in node.bases)
        or ({_last(base) for base in node.bases} & ours and _assigned(node) & {"code", "status", "type"})
    }

    assert grown == {f"{room}.{name}" for room, names in SIGNALS.items() for name in names}


def test_signals_stay_in_their_room(house):
    names = {name: room for room, names in SIGNALS.items() for name in names}
    strays = [
        f"{module.name}:{node.lineno} {alias.name}"
        for module in house.modules
        for node in module.nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if names.get(alias.name, module.room) != module.room
    ]

    assert strays == []


def _last(base: ast.expr) -> str:
    return ast.unparse(base).rpartition(".")[2]


def _is_foreign(base: ast.expr) -> bool:
    builtin = getattr(builtins, _last(base), None)
    is_exception = isinstance(builtin, type) and issubclass(builtin, BaseException)
    return is_exception or _last(base).endswith("Exception")


def _assigned(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(target) for line in node.body if isinstance(line, ast.Assign) for target in line.targets}
