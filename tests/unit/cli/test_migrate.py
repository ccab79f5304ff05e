from pathlib import Path

import pytest

from aiservice.core.settings import Settings
from aiservice.stores.migrate import HEAD
from tests.servers.postgres_server import APP, PostgresServer
from tests.unit.cli.commands import run


def test_check_changes_nothing_and_migrate_mends(tmp_path):
    before = run("migrate", "--check", data_dir=tmp_path)
    assert before.exit_code == 1
    assert f"needs {HEAD}: run `aiservice migrate`" in before.stdout
    assert list(tmp_path.iterdir()) == []

    assert run("migrate", data_dir=tmp_path).exit_code == 0
    assert run("migrate", "--check", data_dir=tmp_path).exit_code == 0
    assert "nothing to do" in run("migrate", data_dir=tmp_path).stdout


@pytest.mark.stores
def test_rights_that_are_missing_are_given(
    tmp_path: Path, postgres_settings: Settings, postgres_server: PostgresServer
):
    stores = postgres_settings.stores
    urls = {"POSTGRES_URL": stores.postgres_url or "", "POSTGRES_OWNER_URL": stores.postgres_owner_url or ""}
    postgres_server.sql(f"revoke insert on ai_cache from {APP}", database=urls["POSTGRES_URL"].rpartition("/")[2])

    before = run("migrate", "--check", data_dir=tmp_path, **urls)
    assert before.exit_code == 1
    assert "with the rights of POSTGRES_URL's role: run `aiservice migrate`" in before.stdout

    assert run("migrate", data_dir=tmp_path, **urls).exit_code == 0
    assert "nothing to do" in run("migrate", "--check", data_dir=tmp_path, **urls).stdout


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "main.db").write_bytes(b"no database at all" * 100)
    refused = run("migrate", data_dir=tmp_path)

    assert refused.exit_code == 2
    assert "cannot be read as a database" in refused.stderr
    assert refused.stderr.count("\n") == 1
