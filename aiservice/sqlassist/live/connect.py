"""Opens a registered database by the scheme of its address."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlglot import exp

from aiservice.core.errors import DatabaseUnknown
from aiservice.sqlassist.live.mysql import open_mysql
from aiservice.sqlassist.live.postgresql import open_postgres
from aiservice.sqlassist.live.sqlite_file import open_sqlite
from aiservice.sqlassist.model import Grid, Target
from aiservice.sqlassist.runner import Rows
from aiservice.sqlassist.schema import Schema


class Live(Protocol):
    """A database that is only read."""

    is_live: bool
    dialect: str

    def run(self, statement: exp.Expr, *, rows_max: int = 1_000, seconds: float = 1.0) -> Rows:
        """As `Runner.run`; the statement was parsed in the database's own dialect."""
        ...

    def schema(self) -> Schema:
        """Tables, keys and sampled values; at most a minute old."""
        ...

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        """`{"unit", "cost", "text"}` of EXPLAIN; raises `RunFailed`."""
        ...

    def grid(self, sql: str, *, rows_max: int, seconds: float) -> Grid:
        """The rows of one statement that reads, for showing; raises `StatementRefused` or `SqlTimeout`."""
        ...


_OPENERS: Mapping[str, Callable[[str], AbstractContextManager[Live]]] = {
    "sqlite": open_sqlite,
    "postgres": open_postgres,
    "postgresql": open_postgres,
    "mysql": open_mysql,
    "mariadb": open_mysql,
}


@contextmanager
def open_live(target: Target) -> Iterator[Live]:
    """A connection for one task; raises `DatabaseDown`."""
    scheme = target.url.partition("://")[0].partition("+")[0]
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise DatabaseUnknown(f"The database {target.name} has an address of the unknown kind {scheme!r}.")
    with opener(target.url) as live:
        yield live
