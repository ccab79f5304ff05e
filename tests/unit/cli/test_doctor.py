import sqlite3
from contextlib import closing

import pytest

from aiservice.cli.checks import (
    check_admin_key,
    check_data_dir,
    check_disk,
    check_embedded_model,
    check_embedding_model,
    check_node,
    check_ollama,
    check_port,
    check_python,
)
from aiservice.cli.finding import State
from aiservice.cli.store_checks import check_database
from aiservice.core.settings import load
from aiservice.server.listener import bind
from tests.unit.cli.commands import run
from tests.unit.cli.http_server import Reply, serving


def settings_for(data_dir, **environ: str):
    return load({"ENVIRONMENT": "test", "DATA_DIR": str(data_dir), **environ})


def test_a_machine_with_everything_required(tmp_path):
    healthy = run("doctor", data_dir=tmp_path, PORT="0")

    assert healthy.exit_code == 0
    assert "Everything that is required is there." in healthy.stdout


def test_a_wrong_setting_is_named_and_the_rest_still_checked(tmp_path):
    found = run("doctor", data_dir=tmp_path, WORKERS="0")

    assert found.exit_code == 1
    assert "WORKERS is '0'; it takes a whole number from 1 to 64." in found.stdout
    assert "Required and missing: settings." in found.stdout
    assert "python" in found.stdout
    assert "node" in found.stdout


def test_everything_missing_is_listed_with_its_command(tmp_path):
    run("migrate", data_dir=tmp_path)
    with closing(sqlite3.connect(tmp_path / "main.db")) as database:
        database.execute("update alembic_version set version_num = 'old'")
        database.commit()
    found = run("doctor", data_dir=tmp_path, PORT="0", EMBEDDED_MODEL=str(tmp_path / "none.gguf"))

    assert found.exit_code == 1
    assert "aiservice migrate" in found.stdout
    assert "none.gguf" in found.stdout
    assert "Required and missing: database, embedded model." in found.stdout


def test_a_damaged_database_is_said_with_its_remedy(tmp_path):
    (tmp_path / "main.db").write_bytes(b"not a database" * 100)

    found = check_database(settings_for(tmp_path))

    assert found.state is State.MISSING
    assert "restore it from a backup" in found.found


def test_doctor_changes_nothing(tmp_path):
    run("doctor", data_dir=tmp_path / "data", PORT="0")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("version", "state"), [((3, 11, 0), State.OK), ((3, 10, 9), State.MISSING)])
def test_python(version, state):
    assert check_python(version).state is state


@pytest.mark.parametrize(
    ("version", "has_wheel", "state"),
    [
        ("v20.19.0", False, State.OK),
        ("v20.18.9", False, State.OPTIONAL),
        ("v21.9.0", False, State.OPTIONAL),
        ("v22.11.0", False, State.OPTIONAL),
        ("v22.12.0", False, State.OK),
        ("v24.0.0", False, State.OK),
        ("v18.20.4", True, State.OK),
        (None, True, State.OK),
        (None, False, State.OPTIONAL),
        ("nonsense", False, State.OPTIONAL),
    ],
)
def test_node(version, has_wheel, state):
    assert check_node(version, has_wheel=has_wheel).state is state


def test_a_data_folder_that_is_a_file_is_found(tmp_path):
    (tmp_path / "file").touch()

    assert check_data_dir(settings_for(tmp_path)).state is State.OK
    assert check_data_dir(settings_for(tmp_path / "new" / "deep")).state is State.OK
    assert check_data_dir(settings_for(tmp_path / "file")).state is State.MISSING


def test_the_disk_is_measured_where_the_data_will_be(tmp_path):
    assert "MiB free" in check_disk(settings_for(tmp_path / "not" / "yet")).found


def test_a_file_that_is_no_database_is_found(tmp_path):
    (tmp_path / "main.db").write_bytes(b"no database at all" * 100)

    assert check_database(settings_for(tmp_path)).state is State.MISSING


def test_the_port(tmp_path):
    with bind("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
    assert check_port(settings_for(tmp_path, PORT=port)).state is State.OK

    with serving({"/health/live": Reply(b'{"status": "ok"}')}) as (url, _):
        ours = check_port(settings_for(tmp_path, PORT=url.rpartition(":")[2]))
    assert (ours.state, ours.found.endswith("served by this service")) == (State.OK, True)

    with serving({}) as (url, _):
        taken = check_port(settings_for(tmp_path, PORT=url.rpartition(":")[2]))
    assert taken.state is State.MISSING
    assert taken.mend


def test_the_admin_key(tmp_path):
    weak, strong = "a" * 40, "correct horse battery staple in production"
    production = {"ENVIRONMENT": "production", "ADMIN_KEY": weak}

    assert check_admin_key(settings_for(tmp_path)).state is State.OK
    assert check_admin_key(settings_for(tmp_path, ADMIN_KEY=weak)).state is State.OPTIONAL
    assert check_admin_key(settings_for(tmp_path, **production)).state is State.MISSING
    assert check_admin_key(settings_for(tmp_path, **production | {"ADMIN_KEY": strong})).state is State.OK
    assert weak not in str(check_admin_key(settings_for(tmp_path, **production)))


def test_the_embedded_model(tmp_path):
    assert check_embedded_model(settings_for(tmp_path)).state is State.OK
    assert check_embedded_model(settings_for(tmp_path, EMBEDDED_MODEL="off")).state is State.OK
    assert check_embedded_model(settings_for(tmp_path, EMBEDDED_MODEL="/no/such.gguf")).state is State.MISSING


def test_the_embedding_model(tmp_path):
    file = tmp_path / "mine.gguf"

    def check(setting: str, **environ: str):
        return check_embedding_model(settings_for(tmp_path, EMBEDDED_EMBEDDING_MODEL=setting, **environ))

    assert (check("minilm").state, "the first start writes" in check("minilm").found) == (State.OK, True)
    assert "switched off by EMBEDDED_MODEL" in check("minilm", EMBEDDED_MODEL="off").found
    assert "switched off by EMBEDDED_EMBEDDING_MODEL" in check("off").found
    assert (check(str(file)).state, check(str(file)).mend != "") == (State.MISSING, True)
    file.write_bytes(b"x" * 3 * 1024 * 1024)
    assert check(str(file)).found == "mine.gguf, 3 MiB"


def test_ollama(tmp_path):
    with serving({"/api/version": Reply(b'{"version": "0.9"}')}) as (url, _):
        assert check_ollama(settings_for(tmp_path, OLLAMA_URL=url)).state is State.OK
    assert check_ollama(settings_for(tmp_path, OLLAMA_URL="")).state is State.OK
    silent = check_ollama(settings_for(tmp_path, OLLAMA_URL="http://user:secret@127.0.0.1:9"))
    assert silent.state is State.OPTIONAL
    assert "secret" not in silent.found
