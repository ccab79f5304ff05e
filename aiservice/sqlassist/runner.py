"""Where a statement may be run: a registered database, or a scratch copy of a schema."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlglot import exp

ROWS_MAX = 1_000
RUN_S = 1.0


@dataclass(frozen=True, slots=True)
class Rows:
    """A result. `steps` is what it cost in the unit of the place, None where nothing is counted."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_truncated: bool = False
    steps: int | None = None


class RunFailed(Exception):
    """A statement did not run: the place's own words, and whether it was wrong, too slow, or not let through."""

    def __init__(self, reason: str, kind: Literal["error", "time", "refused"] = "error") -> None:
        self.reason = reason
        self.kind = kind
        super().__init__(reason)


class Runner(Protocol):
    """A place that runs statements which only read.

    `is_live` says that its rows are real ones, `dialect` is the one it speaks itself.
    """

    is_live: bool
    dialect: str

    def run(self, statement: exp.Expr, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        """The statement's rows; it was parsed in the case's dialect. Raises `RunFailed`."""
        ...
