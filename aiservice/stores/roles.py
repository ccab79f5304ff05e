"""What a PostgreSQL server and its roles must be like, and what the application's role may do there."""

import logging
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings
from aiservice.stores.visits import as_application, user_of

SERVER_VERSION_MIN = 15

_READ_AND_ADD = ("select", "insert")
_ALSO_CHANGE = (*_READ_AND_ADD, "update")
_ALL = (*_ALSO_CHANGE, "delete")
# By table. What is written once is neither changed nor deleted by the application, whatever befalls it; whoever makes
# sums anew, moves rows or archives them is the owner.
GRANTS: Mapping[str, Sequence[str]] = {
    "ai_api_keys": _ALSO_CHANGE,
    "auth_events": _READ_AND_ADD,
    "ai_usage_logs": _READ_AND_ADD,
    "ai_usage_rollups": _ALSO_CHANGE,
    "ai_usage_totals": _ALSO_CHANGE,
    "usage_dead_letters": _READ_AND_ADD,
    "ai_limits": _ALSO_CHANGE,
    "idempotency_keys": _ALL,
    "ai_responses": _ALL,
    "ai_cache": _ALL,
    "ai_databases": _ALL,
    "audit_log": _READ_AND_ADD,
}
_COUNTERS: Mapping[str, str] = {"auth_events": "seq", "usage_dead_letters": "id", "audit_log": "seq"}

_MAY_WORK = sa.text(
    "select coalesce(bool_and(has_table_privilege(pg_roles.oid, wanted.name, wanted.privilege)), false) "
    "from unnest(cast(:names as text[]), cast(:privileges as text[])) as wanted(name, privilege), pg_roles "
    "where rolname = :role"
)
_SCHEMA = sa.text("select current_schema(), has_schema_privilege(:role, current_schema(), 'usage')")
_COUNTER = sa.text("select pg_get_serial_sequence(:table, :column)")
_STANDING = sa.text(
    "select rolname, rolsuper, rolbypassrls from pg_roles where rolname = current_user or rolname = any(:names)"
)
_SERVER = sa.text("select cast(current_setting('server_version_num') as integer), current_setting('server_encoding')")

logger = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Raises `StartRefused` where row level security would not count or the server is unfit; development is warned."""
    for fault in faults(settings):
        if not settings.is_development:
            raise StartRefused(fault)
        logger.warning("%s Outside of development this is refused.", fault)


def faults(settings: Settings) -> Sequence[str]:
    """A sentence for each; none without PostgreSQL. Raises `StartRefused` when the server cannot be used."""
    stores = settings.stores
    if stores.postgres_url is None:
        return []
    names = [name for url in (stores.postgres_url, stores.postgres_replica_url) if (name := user_of(url))]

    async def look(connection: AsyncConnection) -> Sequence[str]:
        return [*await _faults_of_roles(connection, names), *await _faults_of_server(connection)]

    return as_application(settings, look)


async def may_work(connection: AsyncConnection, role: str) -> bool:
    """Whether the role may do all that `GRANTS` says."""
    wanted = [(table, privilege) for table, privileges in GRANTS.items() for privilege in privileges]
    names, privileges = zip(*wanted, strict=True)
    values = {"role": role, "names": list(names), "privileges": list(privileges)}
    return bool((await connection.execute(_MAY_WORK, values)).scalar_one())


async def grant(connection: AsyncConnection, role: str) -> None:
    """Lets the role do what `GRANTS` says, and no more; asked of the owner of the tables."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    schema, has_usage = (await connection.execute(_SCHEMA, {"role": role})).one()
    if not has_usage:
        name = connection.dialect.identifier_preparer.quote_identifier(schema)
        await connection.exec_driver_sql(f"grant usage on schema {name} to {quoted}")
    for table, privileges in GRANTS.items():
        await connection.exec_driver_sql(f"revoke all on {table} from {quoted}")
        await connection.exec_driver_sql(f"grant {', '.join(privileges)} on {table} to {quoted}")
    for table, column in _COUNTERS.items():
        counter = (await connection.execute(_COUNTER, {"table": table, "column": column})).scalar_one()
        await connection.exec_driver_sql(f"grant usage on sequence {counter} to {quoted}")


async def _faults_of_roles(connection: AsyncConnection, names: Sequence[str]) -> Sequence[str]:
    found = []
    for name, is_super, is_bypassing in await connection.execute(_STANDING, {"names": list(names)}):
        if is_super or is_bypassing:
            attribute = "SUPERUSER" if is_super else "BYPASSRLS"
            found.append(
                f"PostgreSQL's role {name} has {attribute}, so that it would see the rows of all tenants; "
                "let POSTGRES_URL name a role with NOSUPERUSER NOBYPASSRLS."
            )
    return found


async def _faults_of_server(connection: AsyncConnection) -> Sequence[str]:
    found = []
    version, encoding = (await connection.execute(_SERVER)).one()
    if version < SERVER_VERSION_MIN * 10_000:
        found.append(f"PostgreSQL {version // 10_000} is too old; the service takes {SERVER_VERSION_MIN} or newer.")
    if encoding != "UTF8":
        found.append(f"The database of POSTGRES_URL has the encoding {encoding}; make one with UTF8.")
    return found
