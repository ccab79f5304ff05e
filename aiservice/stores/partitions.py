"""The months of `ai_usage_logs` on PostgreSQL: made ahead, so that no row of the ledger has to look for its place."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import transaction
from aiservice.stores.polling import repeat

MONTHS_AHEAD = 3
# A row of an older month is none that came late: some clock was wrong, and the row stays where it can be seen.
MONTHS_BACK = 24
TEND_EVERY_S = 3_600.0
# The ledger waits as long for a table that is being attached, and no longer.
LOCK_WAIT_MS = 2_000
PARENT = "ai_usage_logs"
DEFAULT = f"{PARENT}_default"

# One worker of all machines does it; the number is only ours.
_TRY = sa.text("select pg_try_advisory_xact_lock(4927516208312), set_config('lock_timeout', :wait_ms, true)")
_NAMES = sa.text("select inhrelid::regclass::text from pg_inherits where inhparent = to_regclass(:parent)")
_STRAY_MONTHS = sa.text(
    "select date_trunc('month', created_at at time zone 'UTC'), count(*) from ai_usage_logs_default group by 1"
)
_POLICIES = sa.text(
    "select policyname, cmd, qual, with_check from pg_policies "
    "where schemaname = current_schema() and tablename = :parent order by 1"
)

logger = logging.getLogger(__name__)


class Partitions:
    """Makes this month and those ahead, and moves rows out of the default partition where their month came late.

    `strays` are the rows that are left there, as far as is known: more than 0 is worth an alarm.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        """The engine's role owns the table."""
        self._engine = engine
        self._clock = clock
        self.strays = 0

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        await repeat(self._tend_quietly, every_s=TEND_EVERY_S)

    async def tend(self) -> None:
        """Does what is to be done now. Raises `StoreUnavailable`, also where a table was in use for too long."""
        now = datetime.fromtimestamp(self._clock.now_us() // 1_000_000, UTC)
        wanted = {_months_from(now, number) for number in range(MONTHS_AHEAD + 1)}
        oldest = _months_from(now, -MONTHS_BACK)
        strays = await self._stray_months()
        late = {month for month in strays if oldest <= month <= max(wanted)}
        for month in sorted(wanted | late):
            if await self._make(month):
                logger.info("the ledger has a partition for %s", f"{month:%Y-%m}")
        left = await self._stray_months() if strays else strays
        self.strays = sum(left.values())
        if left:
            logger.warning("%d rows of the ledger are in no month but in %s", self.strays, DEFAULT)

    async def _tend_quietly(self) -> None:
        try:
            await self.tend()
        except StoreUnavailable as error:
            logger.warning("the ledger's partitions could not be looked after: %s", error.detail)
        except (sa.exc.SQLAlchemyError, OverflowError, ValueError):
            # A row of an impossible time, for one: months are to be made all the same when it is gone.
            logger.exception("the ledger's partitions could not be looked after")

    async def _stray_months(self) -> dict[datetime, int]:
        async with transaction(self._engine, purpose="ledger") as connection:
            found = await connection.execute(_STRAY_MONTHS)
            return {month.replace(tzinfo=UTC): int(rows) for month, rows in found}

    async def _make(self, month: datetime) -> bool:
        """In one transaction a table with the month's rows, under the same policies, attached; False where it is."""
        name = f"{PARENT}_{month:%Y_%m}"
        async with transaction(self._engine, purpose="ledger") as connection:
            is_ours, _ = (await connection.execute(_TRY, {"wait_ms": str(LOCK_WAIT_MS)})).one()
            if not is_ours or name in (await connection.execute(_NAMES, {"parent": PARENT})).scalars().all():
                return False
            await _make(connection, name, month)
        return True


async def _make(connection: AsyncConnection, name: str, month: datetime) -> None:
    first, after = (f"'{moment:%Y-%m-%d} 00:00:00+00'" for moment in (month, _months_from(month, 1)))
    statements = [
        f"create table {name} (like {PARENT} including defaults including constraints)",
        # Nobody writes there between the move and the attachment.
        f"lock table {DEFAULT} in access exclusive mode",
        f"with moved as (delete from {DEFAULT} where created_at >= {first} and created_at < {after} returning *) "  # noqa: S608 - names and months of ours
        f"insert into {name} select * from moved",
        *await _security(connection, name),
        f"alter table {PARENT} attach partition {name} for values from ({first}) to ({after})",
    ]
    for statement in statements:
        await connection.exec_driver_sql(statement)


async def _security(connection: AsyncConnection, name: str) -> Sequence[str]:
    """The parent's policies said of another table: they do not count for whoever names a partition itself."""
    statements = []
    for policy, command, using, check in await connection.execute(_POLICIES, {"parent": PARENT}):
        clauses = "".join(
            f" {word} ({condition})" for word, condition in (("using", using), ("with check", check)) if condition
        )
        statements.append(f"create policy {policy} on {name} for {command}{clauses}")
    return [
        *statements,
        f"alter table {name} enable row level security",
        f"alter table {name} force row level security",
    ]


def _months_from(moment: datetime, number: int) -> datetime:
    """The first moment of the month so many months later."""
    count = moment.year * 12 + moment.month - 1 + number
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)
