"""`aiservice keys`: API keys, handled by whoever may read the data folder."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TextIO, TypeVar

import click

from aiservice.app import open_keys, prepare
from aiservice.cli.tables import plain_table, show
from aiservice.core.ids import iso_utc
from aiservice.core.settings import load
from aiservice.keys import (
    ADMIN_CALLER,
    PLATFORM_TENANT,
    SCOPES,
    SCOPES_DEFAULT,
    TIERS,
    ApiKey,
    KeyRequest,
    Keys,
    NewKey,
)
from aiservice.keys.grants import OVERLAP_S_MAX

PAGE_ROWS = 500
_Result = TypeVar("_Result")


@click.group()
def command() -> None:
    """Make, list, rotate, revoke and audit API keys. A running service notices within a second."""


@command.command()
@click.option("--tenant", "tenant_id", metavar="TENANT", required=True, help="Whose key it is.")
@click.option("--user", "user_id", metavar="USER", help="Who in the tenant.")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--tier", type=click.Choice(TIERS), default="free", show_default=True)
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, default=SCOPES_DEFAULT, show_default=True)
@click.option("--model", "models", metavar="MODEL", multiple=True, help="May use this model only; repeatable.")
@click.option("--ip", "allowed_ips", metavar="NETWORK", multiple=True, help="Works from there only; repeatable.")
@click.option("--quota", "quota_requests_per_hour", type=int, help="Requests per hour instead of the tier's.")
@click.option("--tokens-per-hour", type=int, help="Unlimited unless set.")
@click.option("--concurrency", type=int, help="Requests at once; unlimited unless set.")
@click.option("--days", "expires_in_days", type=int, default=365, show_default=True, help="Until it expires.")
def create(**fields: Any) -> None:
    """Make a key and print it, this once. The options are the fields of a `KeyRequest`."""
    _show_new(_with_keys(lambda keys: keys.create(KeyRequest(**fields), by=ADMIN_CALLER)))


@command.command()
@click.option("--name", default="admin key", show_default=True)
@click.option("--days", type=int, default=365, show_default=True, help="Until it expires.")
def create_admin(name: str, days: int) -> None:
    """Make a key for the X-Admin-Key header and print it, this once."""
    request = KeyRequest(PLATFORM_TENANT, None, name, tier="enterprise", scopes=SCOPES, expires_in_days=days)
    _show_new(_with_keys(lambda keys: keys.create(request, by=ADMIN_CALLER)))


@command.command()
def bootstrap() -> None:
    """Where there is no key yet, make the first key and the first admin key; print them as JSON, this once."""
    made = _with_keys(lambda keys: keys.bootstrap())
    click.echo(json.dumps(None if made is None else {"api_key": made[0].secret, "admin_key": made[1].secret}))


@command.command("list")
@click.option("--tenant", metavar="TENANT", help="Of this tenant only.")
def list_keys(tenant: str | None) -> None:
    """List keys, newest first; the keys themselves are stored nowhere."""
    table = plain_table("key_id", "tenant", "name", "tier", "state", "expires", "last used")
    for key in _with_keys(lambda keys: _all(keys, tenant)):
        used = "never" if key.last_used_at_us is None else iso_utc(key.last_used_at_us)[:10]
        state = "active" if key.is_active else "revoked"
        table.add_row(key.id, key.tenant_id, key.name, key.tier, state, iso_utc(key.expires_at_us)[:10], used)
    show(table)


@command.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Switch a key off for good."""
    _with_keys(lambda keys: keys.revoke(key_id, by=ADMIN_CALLER))
    click.echo(f"Key {key_id} is revoked.", err=True)


@command.command()
@click.argument("key_id")
@click.option(
    "--overlap", type=click.IntRange(0, OVERLAP_S_MAX), default=0, show_default=True, help="Seconds the old one lives."
)
def rotate(key_id: str, overlap: int) -> None:
    """Replace a key by a new one with the same rights, limits and usage; print it, this once."""
    _show_new(_with_keys(lambda keys: keys.rotate(key_id, overlap, by=ADMIN_CALLER)))


@command.command()
@click.option("--known", type=click.File(), help="File of whole keys, one a line (- is standard input), checked too.")
@click.pass_context
def audit(ctx: click.Context, known: TextIO | None) -> None:
    """Check every stored key, and that whole keys match their hashes; exit with 1 when something is wrong."""
    texts = [] if known is None else [line.strip() for line in known if line.strip()]
    findings = _with_keys(lambda keys: keys.audit(texts))
    for finding in findings:
        click.echo(f"{finding.kid} {finding.key_id or '-'}: {finding.problem}")
    click.echo(f"{len(findings)} problems found." if findings else "Every key is as it should be.", err=True)
    ctx.exit(1 if findings else 0)


def _with_keys(ask: Callable[[Keys], Awaitable[_Result]]) -> _Result:
    settings = load()
    prepare(settings)

    async def asked() -> _Result:
        async with open_keys(settings) as keys:
            return await ask(keys)

    return asyncio.run(asked())


async def _all(keys: Keys, tenant: str | None) -> list[ApiKey]:
    found: list[ApiKey] = []
    cursor = None
    while rows := await keys.page(by=ADMIN_CALLER, tenant_id=tenant, cursor=cursor, limit=PAGE_ROWS):
        found += rows
        cursor = rows[-1].id
    return found


def _show_new(new: NewKey) -> None:
    """The key alone on standard output, for scripts; what it is on standard error."""
    key = new.key
    click.echo(new.secret)
    click.echo(
        f"key_id {key.id}, tenant {key.tenant_id}, tier {key.tier}, scopes {' '.join(key.scopes)}, "
        f"expires {iso_utc(key.expires_at_us)[:10]}. The key is shown this once; only its hashes are stored.",
        err=True,
    )
