"""`aiservice usage reconcile`: whether the ledger agrees with itself, and putting it right where it does not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table

from aiservice.app import SPOOL_FOLDER, open_usage, prepare
from aiservice.cli.tables import plain_table, show
from aiservice.core.clock import SystemClock
from aiservice.core.errors import StartRefused
from aiservice.core.ids import iso_utc
from aiservice.core.settings import Settings, load
from aiservice.stores import migrate
from aiservice.usage import Difference, Reconciliation, Repair, UsageStore, reconcile, repair

DAY_US = 86_400_000_000
# A table that nobody reads to its end helps nobody.
DIFFERENCES_SHOWN = 50


@click.command()
@click.option("--repair", "is_repair", is_flag=True, help="Make the sums anew, and try dead letters again.")
@click.option("--days", type=click.IntRange(1, 3_650), help="Compare only rows of the last days.  [default: all]")
@click.pass_context
def command(context: click.Context, is_repair: bool, days: int | None) -> None:
    """Compare rows, sums, spools and dead letters.

    Ends with 0 when all agrees and with 1 when something differs. The service may run meanwhile; what waits in a
    spool is no difference. A damaged spool file in DATA_DIR/spool/damaged counts until it is moved away. Spools are
    those of this machine; over PostgreSQL the sums are those of all instances.
    """
    settings = load()
    if migrate.revision_of(settings) is None:
        # Where nothing is, all would agree.
        raise StartRefused(_no_ledger(settings))
    prepare(settings)
    from_us = 0 if days is None else SystemClock().now_us() - days * DAY_US
    found = asyncio.run(_work(settings, from_us, is_repair=is_repair))
    for table in _tables(found):
        show(table)
    click.echo(_sentence(found))
    context.exit(0 if found.agrees else 1)


def _no_ledger(settings: Settings) -> str:
    if settings.stores.postgres_url is not None:
        return "There is no ledger in the database of POSTGRES_URL; correct it, or run `aiservice migrate`."
    return f"There is no ledger in DATA_DIR {settings.server.data_dir}; set DATA_DIR to the folder of the service."


async def _work(settings: Settings, from_us: int, *, is_repair: bool) -> Reconciliation:
    root = settings.server.data_dir / SPOOL_FOLDER
    async with open_usage(settings) as store:
        if is_repair:
            await _repair(store, root, from_us)
        return await reconcile(store, root, from_us=from_us)


async def _repair(store: UsageStore, root: Path, from_us: int) -> None:
    before = await reconcile(store, root, from_us=from_us)
    done = await repair(store, from_us=from_us)
    click.echo(_repaired(before, done))


def _repaired(before: Reconciliation, done: Repair) -> str:
    return (
        f"Sums made right: {len(before.differences):,}; dead letters that became rows: {done.revived:,}, "
        f"refused again: {done.refused:,}."
    )


def _tables(found: Reconciliation) -> Iterator[Table]:
    if found.differences:
        yield _differences(found)
    if found.spools:
        yield _spools(found)
    if found.letters:
        table = plain_table("dead letters", "reason")
        for reason, count in sorted(found.letters.items()):
            table.add_row(f"{count:,}", reason)
        yield table
    if found.set_aside:
        table = plain_table("damaged file, set aside")
        for name in found.set_aside:
            table.add_row(name)
        yield table


def _differences(found: Reconciliation) -> Table:
    table = plain_table("sums", "tenant", "key", "hour", "endpoint", "model", "status", "rows less sum")
    for one in found.differences[:DIFFERENCES_SHOWN]:
        hour = iso_utc(one.hour_us)[:16] + "Z" if one.hour_us else ""
        where = (one.table, one.tenant_id, one.api_key_id, hour, one.endpoint, one.model)
        table.add_row(*where, str(one.status_code), _delta(one))
    return table


def _delta(difference: Difference) -> str:
    return ", ".join(f"{name} {value:+,}" for name, value in difference.delta.items())


def _spools(found: Reconciliation) -> Table:
    table = plain_table("spool of worker", "state", "files", "running", "waiting", "faults")
    for spool in found.spools:
        counts = (f"{count:,}" for count in (spool.files, spool.running, spool.waiting))
        state, faults = "alive" if spool.is_alive else "dead", "; ".join(spool.faults) or "none"
        table.add_row(spool.worker_id, state, *counts, faults)
    return table


def _sentence(found: Reconciliation) -> str:
    waiting, running = (sum(getattr(spool, name) for spool in found.spools) for name in ("waiting", "running"))
    rest = f"records waiting in spools: {waiting:,}, requests running: {running:,}."
    if found.agrees:
        return f"The ledger agrees with itself; {rest}"
    faults = sum(len(spool.faults) for spool in found.spools)
    return (
        f"The ledger differs: sums {len(found.differences):,}, faults in spools {faults:,}, "
        f"damaged files set aside {len(found.set_aside):,}, dead letters {sum(found.letters.values()):,}; {rest}"
    )
