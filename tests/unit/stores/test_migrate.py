"""The main database from nothing to HEAD and back."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from aiservice.core.errors import StartRefused
from aiservice.stores.databases import MAIN_FILE, main_url
from aiservice.stores.migrate import HEAD, SCRIPTS_DIR, downgrade, is_current, revision_of, upgrade
from aiservice.stores.tables import metadata
from tests.settings import embedded_in


def environ_of(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "ENVIRONMENT": "test", "DATA_DIR": str(data_dir)}


def names(data_dir: Path) -> set[str]:
    with closing(sqlite3.connect(data_dir / MAIN_FILE)) as connection:
        return {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}


def test_from_nothing_to_head_and_back(tmp_path: Path):
    data_dir = tmp_path / "new" / "100%"
    assert not is_current(embedded_in(data_dir))

    upgrade(embedded_in(data_dir))
    assert is_current(embedded_in(data_dir))
    assert set(metadata.tables) <= names(data_dir)

    downgrade(embedded_in(data_dir))
    assert not is_current(embedded_in(data_dir))
    assert revision_of(embedded_in(data_dir)) is None
    assert names(data_dir) == {"alembic_version", "sqlite_sequence"}

    upgrade(embedded_in(data_dir))
    assert is_current(embedded_in(data_dir))


def test_head_is_what_the_tables_say(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    engine = sa.create_engine(main_url(tmp_path))

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_every_index_and_constraint_has_the_name_that_the_tables_give_it(tmp_path: Path):
    """Autogenerate does not compare the names of keys; a later revision needs them to drop one."""
    upgrade(embedded_in(tmp_path / "migrated"))
    (tmp_path / "declared").mkdir()
    declared = sa.create_engine(main_url(tmp_path / "declared"))
    migrated = sa.create_engine(main_url(tmp_path / "migrated"))
    metadata.create_all(declared)

    for table in metadata.tables:
        left, right = sa.inspect(declared), sa.inspect(migrated)
        assert left.get_pk_constraint(table) == right.get_pk_constraint(table)
        assert left.get_unique_constraints(table) == right.get_unique_constraints(table)
        assert left.get_indexes(table) == right.get_indexes(table)
    declared.dispose()
    migrated.dispose()


KEY = "0000000000000000000000000000000"
COLUMNS = (
    "id, api_key_id, tenant_id, endpoint, prompt_tokens, completion_tokens, total_tokens, tokens_saved, cost_nano, "
    "model_used, response_cached, response_time_ms, status_code, created_at"
)
ROWS = (
    (f"{KEY}1", f"{KEY}a", "acme", "/e", 3, 4, 7, 0, 7, "m", 0, 10, 200, 1_769_860_800_000_000),
    (f"{KEY}2", f"{KEY}a", "acme", "/e", 5, 6, 11, 0, 8, "m", 0, 20, 200, 1_769_864_399_999_999),
    (f"{KEY}3", f"{KEY}a", "acme", "/e", 0, 0, 0, 9, 0, "m", 1, 1, 200, 1_769_864_400_000_000),
    (f"{KEY}4", f"{KEY}b", "acme", "/e", 0, 0, 0, 0, 0, None, 0, 2, 429, 1_769_864_400_000_000),
)


def insert_rows(data_dir: Path) -> None:
    marks = ", ".join("?" * len(ROWS[0]))
    with closing(sqlite3.connect(data_dir / MAIN_FILE)) as connection, connection:
        connection.executemany(f"insert into ai_usage_logs ({COLUMNS}) values ({marks})", ROWS)


def test_rows_that_were_there_before_the_sums_are_summed_up(tmp_path: Path):
    upgrade(embedded_in(tmp_path), "0001")
    insert_rows(tmp_path)

    upgrade(embedded_in(tmp_path))

    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection:
        hours = connection.execute("select * from ai_usage_rollups order by hour, api_key_id").fetchall()
        totals = connection.execute("select * from ai_usage_totals order by status_code").fetchall()
    assert hours == [
        ("acme", f"{KEY}a", 1_769_860_800_000_000, "/e", "m", 200, 2, 0, 8, 10, 0, 15, 30),
        ("acme", f"{KEY}a", 1_769_864_400_000_000, "/e", "m", 200, 1, 1, 0, 0, 9, 0, 1),
        ("acme", f"{KEY}b", 1_769_864_400_000_000, "/e", "", 429, 1, 0, 0, 0, 0, 0, 2),
    ]
    assert totals == [(200, 3, 1, 8, 10, 9, 15, 31), (429, 1, 0, 0, 0, 0, 0, 2)]


def test_rows_stay_when_the_sums_are_undone_and_made_again(tmp_path: Path):
    upgrade(embedded_in(tmp_path), "0001")
    insert_rows(tmp_path)
    upgrade(embedded_in(tmp_path))

    downgrade(embedded_in(tmp_path), "0001")
    assert "ai_usage_rollups" not in names(tmp_path)
    upgrade(embedded_in(tmp_path))

    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection:
        assert connection.execute("select count(*) from ai_usage_logs").fetchone() == (4,)
        assert connection.execute("select sum(requests) from ai_usage_rollups").fetchone() == (4,)
        assert connection.execute("select sum(requests) from ai_usage_totals").fetchone() == (4,)


def test_responses_are_undone_and_made_again_alone(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    insert_rows(tmp_path)

    downgrade(embedded_in(tmp_path), "0002")
    assert names(tmp_path) & {"ai_responses", "ai_limits"} == {"ai_limits"}
    upgrade(embedded_in(tmp_path))

    assert "ai_responses" in names(tmp_path)
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection:
        assert connection.execute("select count(*) from ai_usage_logs").fetchone() == (len(ROWS),)


# What the version at revision 0003 says to SQLite, in the order in which it says it: (statement, values); a value of
# bytes is an object.
OLD_STATEMENTS = json.loads(Path(__file__).with_name("statements_0003.json").read_text())


def results(data_dir: Path) -> list[list[tuple[object, ...]]]:
    """What the old statements find and say, one after the other."""
    with closing(sqlite3.connect(data_dir / MAIN_FILE, isolation_level=None)) as connection:
        return [connection.execute(said, tuple(map(value_of, values))).fetchall() for said, values in OLD_STATEMENTS]


def value_of(written: object) -> object:
    return bytes.fromhex(written["hex"]) if isinstance(written, dict) else written


def test_the_version_before_finds_on_head_what_it_found_on_its_own_revision(tmp_path: Path):
    """While instances are replaced one after the other, some still run the version before."""
    upgrade(embedded_in(tmp_path / "before"), "0003")
    upgrade(embedded_in(tmp_path / "head"))

    before, head = results(tmp_path / "before"), results(tmp_path / "head")

    assert head == before
    assert {said.split()[0] for said, _ in OLD_STATEMENTS} == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert sum(map(len, before)) > 40


def test_the_constant_is_the_newest_script():
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS_DIR).replace("%", "%%"))

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_an_upgrade_keeps_what_is_there(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection, connection:
        connection.execute("insert into auth_events (kid, created_at) values ('kid000000001', 1)")

    upgrade(embedded_in(tmp_path))

    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection:
        assert connection.execute("select kid from auth_events").fetchall() == [("kid000000001",)]
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_processes_that_upgrade_at_once_wait_for_each_other(tmp_path: Path):
    code = "from aiservice.core.settings import load; from aiservice.stores.migrate import upgrade; upgrade(load())"
    command = [sys.executable, "-W", "error", "-c", code]
    environ = environ_of(tmp_path / "data")
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) for _ in range(3)]

    errors = [process.communicate(timeout=60)[1] for process in running]

    assert errors == ["", "", ""]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert is_current(embedded_in(tmp_path / "data"))


def test_a_revision_that_fails_leaves_nothing(tmp_path: Path):
    """A table in the way of a later one: those before it must not stay."""
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection:
        connection.execute("create table audit_log (id integer)")

    with pytest.raises(StartRefused, match="audit_log already exists"):
        upgrade(embedded_in(tmp_path))

    assert names(tmp_path) == {"audit_log"}


def test_a_start_asks_without_alembic(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    code = (
        "import sys; from aiservice.core.settings import load;"
        "from aiservice.stores.migrate import is_current, upgrade;"
        "assert is_current(load()); upgrade(load()); assert 'alembic' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environ_of(tmp_path))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / MAIN_FILE).write_bytes(b"not a database" * 100)

    for ask in (is_current, upgrade, downgrade):
        with pytest.raises(StartRefused, match="restore it from a backup"):
            ask(embedded_in(tmp_path))


FULL_DISK = """
import resource, sys
from aiservice.core.errors import StartRefused
from aiservice.core.settings import load
from aiservice.stores.migrate import is_current, upgrade

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for ask, data_dir in (is_current, sys.argv[1]), (upgrade, sys.argv[2]):
    try:
        ask(load({"ENVIRONMENT": "test", "DATA_DIR": data_dir}))
    except StartRefused as error:
        print(error.public)
"""


def test_a_database_without_room_for_its_files_is_no_damaged_one(tmp_path: Path):
    """No file may grow, as on a full disk; also an old database needs room, for the index of its WAL."""
    upgrade(embedded_in(tmp_path / "old"))
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "old"), str(tmp_path / "new")]

    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout

    assert said.count("make room on its disk") == 2
    assert "backup" not in said


@pytest.mark.slow
def test_a_database_that_another_program_holds_is_no_damaged_one(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    with closing(sqlite3.connect(tmp_path / MAIN_FILE, isolation_level=None)) as holder:
        holder.execute("pragma locking_mode = exclusive")
        holder.execute("begin exclusive")

        with pytest.raises(StartRefused, match="end the program that holds it"):
            is_current(embedded_in(tmp_path))


def test_a_database_that_cannot_be_opened_is_no_damaged_one(tmp_path: Path):
    (tmp_path / MAIN_FILE).mkdir()

    with pytest.raises(StartRefused, match="let this user read and write it"):
        is_current(embedded_in(tmp_path))


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path):
    upgrade(embedded_in(tmp_path))
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection, connection:
        connection.execute("update alembic_version set version_num = '9999'")

    assert not is_current(embedded_in(tmp_path))
    with pytest.raises(StartRefused, match="9999"):
        upgrade(embedded_in(tmp_path))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "data").write_text("a file where the folder should be")

    with pytest.raises(StartRefused, match="cannot be written"):
        upgrade(embedded_in(tmp_path / "data"))
