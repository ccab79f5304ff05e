"""`aiservice databases`: which databases SQL assist may read."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
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
@click.option("--unchecked", is_flag=True, help="Register it although it cannot be opened now.")
def add(name: str, url: str, *, tenant_id: str, unchecked: bool) -> None:
    """Register URL (postgresql://, mysql://, sqlite:///absolute/path) as NAME; `-` reads it from standard input.

    It is opened first; a superuser's address is refused, and one whose role may write is warned of. A known name gets
    the new address.
    """
    url = sys.stdin.readline().strip() if url == "-" else url
    if not unchecked:
        click.echo(_report(url))
    _with_databases(lambda databases: databases.add(tenant_id, name, url))
    click.echo(f"{name} is registered for {tenant_id}.")


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
    click.echo(_report(target.url))


@command.command()
@click.argument("name")
@_tenant
def remove(name: str, tenant_id: str) -> None:
    """Forget NAME."""
    _with_databases(lambda databases: databases.remove(tenant_id, name))
    click.echo(f"{name} is forgotten.")


def _report(url: str) -> str:
    """What is found there, in a process of its own: SQL libraries load in no other. Raises `DatabaseDown`."""
    done = subprocess.run(
        [sys.executable, "-m", "aiservice.sqlassist.live"],
        input=url,
        text=True,
        capture_output=True,
        timeout=CHECK_S,
        check=False,
    )
    if done.returncode != 0:
        raise DatabaseDown(done.stderr.strip() or None)
    return done.stdout.strip()


async def _listed(databases: Databases, tenant_id: str) -> Sequence[tuple[Registered, str]]:
    return [(row, await _url(databases, row)) for row in await databases.list(tenant_id)]


async def _url(databases: Databases, row: Registered) -> str:
    try:
        return (await databases.target(row.tenant_id, row.name)).url
    except DatabaseDown:
        return "sealed with another KEY_PEPPER://"


def _with_databases(work: Callable[[Databases], Awaitable[_Result]]) -> _Result:
    settings = load()
    prepare(settings)

    async def run() -> _Result:
        async with open_databases(settings) as databases:
            return await work(databases)

    return asyncio.run(run())
