"""`aiservice databases`: which databases SQL assist may read."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from aiservice.app import open_databases, prepare
from aiservice.cli.tables import plain_table, show
from aiservice.core.errors import DatabaseDown
from aiservice.core.ids import iso_utc
from aiservice.core.settings import load
from aiservice.sqlassist.databases import Databases, Registered

CHECK_S = 30
_Result = TypeVar("_Result")
_tenant = click.option("--tenant", "tenant_id", metavar="TENANT", required=True, help="Whose database it is.")


@click.group()
def command() -> None:
    """Register the databases that SQL assist may read. They are only ever read."""


@command.command()
@click.argument("name")
@click.argument("url")
@_tenant
def add(name: str, url: str, tenant_id: str) -> None:
    """Register URL (postgresql://, mysql://, sqlite:///) as NAME; `-` reads it from standard input.

    The role in the address should be one that can only read. A known name gets the new address.
    """
    url = sys.stdin.readline().strip() if url == "-" else url
    if url.startswith("sqlite://"):
        path = Path("/" + url.partition("://")[2].lstrip("/"))
        if not path.is_file():
            raise DatabaseDown(f"There is no file {path}; an SQLite address is sqlite:///absolute/path.")
    _with_databases(lambda databases: databases.add(tenant_id, name, url))
    click.echo(
        f"{name} is registered for {tenant_id}. `aiservice databases check {name} --tenant {tenant_id}` opens it."
    )


@command.command("list")
@_tenant
def list_databases(tenant_id: str) -> None:
    """List a tenant's databases, without their passwords."""
    table = plain_table("name", "kind", "host", "registered")
    for row, url in _with_databases(lambda databases: _listed(databases, tenant_id)):
        parts = urlsplit(url)
        host = parts.path if parts.scheme == "sqlite" else f"{parts.hostname}{parts.path}"
        table.add_row(row.name, parts.scheme, host, iso_utc(row.created_at_us)[:10])
    show(table)


@command.command()
@click.argument("name")
@_tenant
def check(name: str, tenant_id: str) -> None:
    """Open NAME as SQL assist would, and say what was found."""
    target = _with_databases(lambda databases: databases.target(tenant_id, name))
    # SQL libraries load in processes of their own.
    done = subprocess.run(
        [sys.executable, "-m", "aiservice.sqlassist.live"],
        input=target.url,
        text=True,
        capture_output=True,
        timeout=CHECK_S,
        check=False,
    )
    if done.returncode != 0:
        raise DatabaseDown(done.stderr.strip() or None)
    click.echo(done.stdout.strip())


@command.command()
@click.argument("name")
@_tenant
def remove(name: str, tenant_id: str) -> None:
    """Forget NAME."""
    _with_databases(lambda databases: databases.remove(tenant_id, name))
    click.echo(f"{name} is forgotten.")


async def _listed(databases: Databases, tenant_id: str) -> Sequence[tuple[Registered, str]]:
    rows = await databases.list(tenant_id)
    return [(row, (await databases.target(tenant_id, row.name)).url) for row in rows]


def _with_databases(work: Callable[[Databases], Awaitable[_Result]]) -> _Result:
    settings = load()
    prepare(settings)

    async def run() -> _Result:
        async with open_databases(settings) as databases:
            return await work(databases)

    return asyncio.run(run())
