"""A real PostgreSQL on loopback, with databases of an owner and an application role, and standbys. All calls block."""

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

from tests.servers.binaries import PostgresBinaries
from tests.servers.processes import Server, ServerFailed, ServerProcess, free_port, new_folder, run

START_S = 40.0
SUPERUSER = "superuser"
OWNER = "ai_owner"
APP = "ai_app"
# Made up here; good for servers that live as long as a test run and listen on loopback alone.
PASSWORDS = {SUPERUSER: "kept-by-the-tests-0", OWNER: "kept-by-the-tests-1", APP: "kept-by-the-tests-2"}
ORDINARY = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "jit": "off",
    "log_min_messages": "warning",
    "log_statement": "none",
}
# A machine that loses its power loses these databases; processes may be killed all the same.
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


@dataclass(frozen=True)
class Urls:
    """The addresses of one database under its roles, none of which but the last may do everything."""

    owner: str
    app: str
    superuser: str

    @property
    def database(self) -> str:
        return self.owner.rpartition("/")[2]


@dataclass
class PostgresServer(Server):
    """One server over a folder of its own."""

    binaries: PostgresBinaries
    folder: Path
    port: int
    _process: ServerProcess = field(init=False)
    _names: "count[int]" = field(default_factory=count)

    @classmethod
    def start(
        cls, binaries: PostgresBinaries, *, template: Path | None = None, is_durable: bool = False, **options: str
    ) -> Self:
        """From a folder that `make_template` filled, else made anew. Loses commits with the machine's power, not with
        its processes; with `is_durable` not with either."""
        folder = new_folder(binaries.account)
        server = cls(binaries, folder, free_port())
        try:
            if template is None:
                _initdb(binaries, server.data)
            else:
                # Its owner stays who it is.
                subprocess.run(["cp", "-a", template, server.data], check=True)
            server._write(ORDINARY | ({} if is_durable else FAST) | options)
            server.start_again()
            if template is None:
                server._make_roles()
        except BaseException:
            shutil.rmtree(folder)
            raise
        return server

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, user: str = SUPERUSER, database: str = "postgres") -> str:
        return f"postgresql://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/{database}"

    def urls(self, database: str) -> Urls:
        return Urls(self.url(OWNER, database), self.url(APP, database), self.url(SUPERUSER, database))

    def new_database(self, name: str | None = None, *, template: str = "template1") -> Urls:
        """An empty database that OWNER owns, or a copy of another one to which nobody is connected."""
        name = name or f"db_{next(self._names)}"
        self.sql(f'create database "{name}" owner {OWNER} template "{template}"')
        return self.urls(name)

    def drop_database(self, name: str) -> None:
        """Also from under its connections."""
        self.sql(f'drop database if exists "{name}" with (force)')

    def sql(self, statement: str, *, database: str = "postgres", user: str = SUPERUSER) -> str:
        """What psql prints of the rows, columns divided by `|`; raises `ServerFailed` with the error."""
        command: list[str | Path] = [self.binaries.folder / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement]
        return run([*command, self.url(user, database)], None).stdout.strip()

    def start_again(self) -> None:
        """On the same port; waits until it takes connections. A killed server's children are in the way for a while."""
        end_s = time.monotonic() + START_S
        while not self._starts(end_s):
            if time.monotonic() > end_s:
                raise ServerFailed(f"postgres did not start: {self._process.last_words()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends connections and writes everything out."""
        self.thaw()
        self._process.stop(signal.SIGINT)

    def stop_immediate(self) -> None:
        """Ends without writing anything out; the next start recovers."""
        self._process.stop(signal.SIGQUIT)

    def replica(self, name: str = "standby", *, through_port: int | None = None) -> "PostgresServer":
        """A standby that streams from here, with the same settings, over another port where one is named.

        With `synchronous_standby_names` set to its name here, commits wait for it.
        """
        folder = new_folder(self.binaries.account)
        standby = PostgresServer(self.binaries, folder, free_port())
        try:
            login = f"{SUPERUSER}:{PASSWORDS[SUPERUSER]}"
            source = f"postgresql://{login}@127.0.0.1:{through_port or self.port}/?application_name={name}"
            tool: list[str | Path] = [self.binaries.folder / "pg_basebackup", "-d", source, "-D", standby.data]
            run([*tool, "-R", "-X", "stream", "-c", "fast", "--no-sync"], self.binaries.account)
            standby.start_again()
        except BaseException:
            shutil.rmtree(folder)
            raise
        return standby

    def promote(self) -> None:
        """Makes a standby a primary; returns when it takes writes."""
        self.sql("select pg_promote(true, 30)")

    def set(self, name: str, value: str) -> None:
        """Changes a setting while the server runs."""
        self.sql(f"alter system set {name} = '{value}'")
        self.sql("select pg_reload_conf()")

    def close(self) -> None:
        """Stops it and removes its folder."""
        if self.is_alive:
            self.thaw()
            self.stop_immediate()
        shutil.rmtree(self.folder)

    def _make_roles(self) -> None:
        """An owner and an application role that may do nothing beyond: no superusers, no makers of roles."""
        for role in (OWNER, APP):
            self.sql(f"create role {role} login nosuperuser nocreatedb nocreaterole password '{PASSWORDS[role]}'")

    def _write(self, settings: Mapping[str, str]) -> None:
        """Into the file that the server starts with; `set` has the last word."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _starts(self, end_s: float) -> bool:
        command = [str(self.binaries.folder / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        self._process = ServerProcess(command, self.folder, self.binaries.account)
        while self._process.is_alive:
            if self._is_ready():
                return True
            if time.monotonic() > end_s:
                self._process.kill()
            time.sleep(0.01)
        self._process.kill()
        return False

    def _is_ready(self) -> bool:
        """As the server says it itself, in the last line of its file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"


def make_template(binaries: PostgresBinaries, folder: Path) -> None:
    """Fills a new folder with what `PostgresServer.start` copies: an initialised server with its roles, stopped."""
    with PostgresServer.start(binaries) as server:
        server.stop()
        subprocess.run(["cp", "-a", server.data, folder], check=True)


def _initdb(binaries: PostgresBinaries, data: Path) -> None:
    passwords = data.with_name("password")
    passwords.write_text(PASSWORDS[SUPERUSER])
    passwords.chmod(0o644)
    who = ("-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={passwords}")
    tool: list[str | Path] = [binaries.folder / "initdb", "-D", data, *who]
    run([*tool, "--no-sync", "--encoding=UTF8", "--locale=C"], binaries.account)
    passwords.unlink()
