import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from aiservice.sqlassist.case import open_case
from aiservice.sqlassist.generate import generate
from aiservice.sqlassist.model import Answer, Target, Task
from tests.unit.sqlassist.generate.invented_databases import DATABASES

Ask = Callable[..., Answer]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("databases")
    found = {}
    for name, script in DATABASES.items():
        found[name] = folder / f"{name}.sqlite"
        with closing(sqlite3.connect(found[name])) as connection:
            connection.executescript(script)
    return found


@pytest.fixture
def ask(files: Mapping[str, Path]) -> Ask:
    """Generates for a question to one of the databases."""

    def asked(database: str, question: str, *proposals: str, context: str | None = None) -> Answer:
        target = Target(database, f"sqlite:///{files[database]}")
        task = Task("generate", question, "sqlite", database=target, context=context, proposals=proposals)
        with open_case(task) as case:
            return generate(case)

    return asked


@pytest.fixture
def rows(files: Mapping[str, Path]) -> Callable[[str, str], list[tuple[object, ...]]]:
    """The rows of a statement, the cells of each sorted."""

    def run(database: str, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(files[database])) as connection:
            found = [tuple(sorted(row, key=repr)) for row in connection.execute(sql).fetchall()]
        return found if "ORDER BY" in sql.upper() else sorted(found, key=repr)

    return run
