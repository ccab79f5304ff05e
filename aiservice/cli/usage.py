"""`aiservice usage`: what was used, from the ledger; and `aiservice usage reconcile`."""

import asyncio
from collections.abc import Sequence

import click
from rich.table import Table

from aiservice.app import open_usage, prepare
from aiservice.cli import reconcile
from aiservice.cli.tables import plain_table, show
from aiservice.core.clock import SystemClock
from aiservice.core.settings import Settings, load
from aiservice.keys import LOCAL_TENANT
from aiservice.usage import UsageGroup, UsageTotals
from aiservice.usage.model import GroupBy

DAY_US = 86_400_000_000


@click.group(invoke_without_command=True)
@click.option("--by", type=click.Choice(["day", "model", "endpoint", "key"]), default="day", show_default=True)
@click.option("--tenant", metavar="TENANT", default=LOCAL_TENANT, show_default=True)
@click.option("--days", type=click.IntRange(1, 3_650), default=30, show_default=True, help="How far back.")
@click.pass_context
def command(context: click.Context, by: GroupBy, tenant: str, *, days: int) -> None:
    """Show what a tenant has used, and the totals of all tenants.

    A running service writes its latest requests within a second; they are not lost, only not here yet.
    """
    if context.invoked_subcommand is None:
        _show(by, tenant, days=days)


command.add_command(reconcile.command, "reconcile")


def _show(by: GroupBy, tenant: str, *, days: int) -> None:
    settings = load()
    prepare(settings)
    groups, totals = asyncio.run(_read(settings, by, tenant, days=days))
    click.echo(f"Tenant {tenant}, last {days} days:")
    show(_table(groups, by))
    click.echo(_sentence(totals))


async def _read(settings: Settings, by: GroupBy, tenant: str, *, days: int) -> tuple[Sequence[UsageGroup], UsageTotals]:
    now_us = SystemClock().now_us()
    async with open_usage(settings) as usage:
        groups = await usage.series(
            tenant_id=tenant, api_key_id=None, from_us=now_us - days * DAY_US, to_us=now_us + 1, group_by=by
        )
        return groups, await usage.totals()


def _table(groups: Sequence[UsageGroup], by: GroupBy) -> Table:
    table = plain_table(by)
    for column in ("requests", "cached", "prompt tokens", "completion tokens", "mean ms"):
        table.add_column(column, justify="right")
    for group in groups:
        mean_ms = round(group.response_time_ms_total / group.requests)
        counts = (group.requests, group.cached, group.prompt_tokens, group.completion_tokens, mean_ms)
        table.add_row(group.key, *(f"{count:,}" for count in counts))
    return table


def _sentence(totals: UsageTotals) -> str:
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(totals.by_status.items())) or "none"
    tokens = totals.prompt_tokens + totals.completion_tokens
    return (
        f"All tenants, all time: {totals.requests:,} requests ({statuses}), {tokens:,} tokens, "
        f"{totals.cached:,} answers from the cache saved {totals.tokens_saved:,}."
    )
