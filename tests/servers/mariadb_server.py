"""A real MariaDB on loopback: an owner who fills it and a reader who may only read. All calls block."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

from tests.servers.processes import ServerFailed, ServerProcess, free_port, new_folder, run, unprivileged

START_S = 40.0
# Good for a server that lives as long as a test run and listens on loopback alone.
PASSWORD = "kept-by-the-tests-3"


@dataclass(frozen=True)
class MariadbServer:
    """A running server with one empty database, `shop`."""

    port: int
    process: ServerProcess

    def url(self, user: str) -> str:
        """`owner` may do everything in the database, `reader` may read, `filer` may read and use files."""
        return f"mysql://{user}:{PASSWORD}@127.0.0.1:{self.port}/shop"

    def run(self, *statements: str, user: str = "owner") -> None:
        connection = self._connect(user)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        connection = self._connect("owner")
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()]

    def _connect(self, user: str) -> "pymysql.connections.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=PASSWORD, database="shop")


def find_mariadb() -> Path | None:
    """`mariadbd` of this machine."""
    found = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")
    return None if found is None or shutil.which("mariadb-install-db") is None else Path(found)


@contextmanager
def mariadb(binary: Path) -> Iterator[MariadbServer]:
    """Started on a free port over a folder of its own."""
    account = unprivileged()
    folder = new_folder(account)
    data, port = folder / "data", free_port()
    install = shutil.which("mariadb-install-db")
    assert install is not None
    made = ("--no-defaults", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal")
    run([install, *made], account)
    grants = folder / "grants.sql"
    users = [f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'" for name in ("owner", "reader", "filer")]
    rights = (
        "GRANT ALL ON shop.* TO owner@'127.0.0.1'",
        "GRANT SELECT ON shop.* TO reader@'127.0.0.1', filer@'127.0.0.1'",
        "GRANT FILE ON *.* TO filer@'127.0.0.1'",
    )
    grants.write_text(";\n".join(("CREATE DATABASE shop", *users, *rights, "")))
    grants.chmod(0o644)
    options = (
        "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
        f"--socket={folder / 'own.sock'}", f"--pid-file={folder / 'own.pid'}", f"--init-file={grants}",
        "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin",
    )  # fmt: skip
    process = ServerProcess([str(binary), *options], folder, account)
    server = MariadbServer(port, process)
    try:
        _wait(server)
        yield server
    finally:
        process.stop(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: MariadbServer) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            return server.run("SELECT 1", user="filer")
        except pymysql.MySQLError as error:
            if time.monotonic() > until_s or not server.process.is_alive:
                raise ServerFailed(f"MariaDB did not start: {error}; {server.process.last_words()}") from None
            time.sleep(0.05)
