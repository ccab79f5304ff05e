"""One task as the actions see it: its schema read, its database open, a place to run statements in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlglot import exp

from aiservice.sqlassist.live import Live, open_live
from aiservice.sqlassist.model import Task
from aiservice.sqlassist.runner import Runner
from aiservice.sqlassist.schema import Schema, read_schema
from aiservice.sqlassist.scratch import open_scratch


@dataclass(slots=True)
class Case:
    """A task with what it needs. `schema` is the given one, else the database's, else None."""

    task: Task
    schema: Schema | None
    live: Live | None
    _stack: ExitStack = field(default_factory=ExitStack)

    def runner(self, *statements: exp.Expr) -> Runner:
        """The database where there is one, else a scratch copy whose rows make a difference to these statements."""
        return self.live or self.scratch(*statements)

    def scratch(self, *statements: exp.Expr) -> Runner:
        """A copy of the schema with made rows, closed with the case."""
        assert self.schema is not None
        return self._stack.enter_context(open_scratch(self.schema, self.task.dialect, statements=statements))


@contextmanager
def open_case(task: Task) -> Iterator[Case]:
    """Raises `SchemaInvalid` with the place, or `DatabaseDown`."""
    with ExitStack() as stack:
        live = None if task.database is None else stack.enter_context(open_live(task.database))
        yield Case(task, _schema(task, live), live, stack)


def _schema(task: Task, live: Live | None) -> Schema | None:
    if task.schema is not None and task.schema.strip():
        return read_schema(task.schema, task.dialect)
    return None if live is None else live.schema()
