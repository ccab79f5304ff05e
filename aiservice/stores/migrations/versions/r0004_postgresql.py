"""The index of the cache; on PostgreSQL months of the ledger, row level security, and rules sorted by their bytes."""

from collections.abc import Mapping, Sequence
from datetime import date

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

# Each row is seen by the transactions that say one of these (`stores.databases.transaction`): its tenant, or a purpose
# for which the service must see rows of all tenants. In a subquery, a setting is read once and not for every row.
_TENANT = "tenant_id = (select nullif(current_setting('app.tenant_id', true), ''))"
_ANY_TENANT = "(select nullif(current_setting('app.tenant_id', true), '')) is not null"
_KEYS, _LEDGER, _LIMITS, _SWEEP, _LEASES, _CACHE = (
    f"(select current_setting('app.purpose', true)) = '{purpose}'"
    for purpose in ("keys", "ledger", "limits", "sweep", "leases", "cache")
)
_EXPIRED = f"{_SWEEP} and expires_at <= now()"
_RUNNING = f"{_LEASES} and status = 'in_progress'"

_LOGS = (("tenant", "select", _TENANT), ("ledger", "all", _LEDGER))
# By table: (name, command, condition).
_POLICIES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "ai_api_keys": (("tenant", "all", _TENANT), ("keys", "all", _KEYS)),
    "auth_events": (("told", "insert", f"{_ANY_TENANT} or {_KEYS}"), ("keys", "select", _KEYS)),
    "ai_usage_logs": _LOGS,
    "ai_usage_rollups": _LOGS,
    "ai_usage_totals": (("ledger", "all", _LEDGER),),
    "usage_dead_letters": (("ledger", "all", _LEDGER),),
    "ai_limits": (("tenant", "select", _TENANT), ("limits", "all", _LIMITS)),
    "idempotency_keys": (
        ("tenant", "all", _TENANT),
        ("sweep_reads", "select", _EXPIRED),
        ("sweep_deletes", "delete", _EXPIRED),
    ),
    "ai_responses": (
        ("tenant", "all", _TENANT),
        ("sweep_reads", "select", _EXPIRED),
        ("sweep_deletes", "delete", _EXPIRED),
        ("leases_read", "select", _RUNNING),
        ("leases_write", "update", _RUNNING),
    ),
    "ai_cache": (("tenant", "select", _TENANT), ("cache", "all", _CACHE)),
    "audit_log": (("tenant_reads", "select", _TENANT), ("tenant_writes", "insert", _TENANT)),
}


def upgrade() -> None:
    _create_cache()
    if _is_postgres():
        _compare_limits("C")
        _move_logs(is_partitioned=True)
        for table in (*_POLICIES, *_partitions()):
            _secure(table)


def downgrade() -> None:
    if _is_postgres():
        for table in (*_POLICIES, *_partitions()):
            _open(table)
        _move_logs(is_partitioned=False)
        _compare_limits("default")
    op.drop_table("ai_cache")


def _create_cache() -> None:
    op.create_table(
        "ai_cache",
        sa.Column("cache_key", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("model_used", sa.String(256), nullable=False),
        sa.Column("response_data", sa.JSON()),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.Column("hit_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cache_key", name="pk_ai_cache"),
    )
    op.create_index("ix_ai_cache_tenant_id", "ai_cache", ["tenant_id"])
    op.create_index("ix_ai_cache_expires_at", "ai_cache", ["expires_at"])


def _compare_limits(collation: str) -> None:
    for column in ("tenant_id", "user_id"):
        op.execute(f'alter table ai_limits alter column {column} type varchar(64) collate pg_catalog."{collation}"')


def _move_logs(*, is_partitioned: bool) -> None:
    """The ledger into a table of the other kind; the rows go with it."""
    for index in ("tenant_id_id", "api_key_id_created_at"):
        op.drop_index(f"ix_ai_usage_logs_{index}", "ai_usage_logs")
    op.execute("alter table ai_usage_logs rename constraint pk_ai_usage_logs to pk_ai_usage_logs_before")
    op.rename_table("ai_usage_logs", "ai_usage_logs_before")
    _create_logs("RANGE (created_at)" if is_partitioned else None)
    if is_partitioned:
        _create_partitions()
    # Both have the same columns in the same order.
    op.execute("insert into ai_usage_logs select * from ai_usage_logs_before")
    op.drop_table("ai_usage_logs_before")
    op.create_index("ix_ai_usage_logs_tenant_id_id", "ai_usage_logs", ["tenant_id", "id"])
    op.create_index("ix_ai_usage_logs_api_key_id_created_at", "ai_usage_logs", ["api_key_id", "created_at"])


def _create_logs(partition_by: str | None) -> None:
    numbers = ("prompt_tokens", "completion_tokens", "total_tokens", "tokens_saved", "cost_nano")
    op.create_table(
        "ai_usage_logs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("api_key_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64)),
        sa.Column("endpoint", sa.String(64), nullable=False),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers],
        sa.Column("model_used", sa.String(256)),
        sa.Column("response_cached", sa.Boolean(), nullable=False),
        sa.Column("response_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        sa.Column("error_message", sa.String(500)),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", "created_at", name="pk_ai_usage_logs"),
        postgresql_partition_by=partition_by,
    )


def _create_partitions() -> None:
    """One for each month that has rows, for this one and those ahead."""
    months = (
        "select date_trunc('month', created_at at time zone 'UTC')::date from ai_usage_logs_before union "
        "select (date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead))::date "
        "from generate_series(0, 3) as ahead order by 1"
    )
    for (month,) in op.get_bind().execute(sa.text(months)).fetchall():
        first, after = (f"'{day} 00:00:00+00'" for day in (month, _month_after(month)))
        name = f"ai_usage_logs_{month:%Y_%m}"
        op.execute(f"create table {name} partition of ai_usage_logs for values from ({first}) to ({after})")
    op.execute("create table ai_usage_logs_default partition of ai_usage_logs default")


def _month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _partitions() -> Sequence[str]:
    query = "select inhrelid::regclass::text from pg_inherits where inhparent = 'ai_usage_logs'::regclass"
    return [name for (name,) in op.get_bind().execute(sa.text(query)).fetchall()]


def _secure(table: str) -> None:
    """Also for the role that owns the table: FORCE."""
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    for name, command, condition in _policies_of(table):
        clause = "with check" if command == "insert" else "using"
        op.execute(f"create policy {name} on {table} for {command} {clause} ({condition})")


def _open(table: str) -> None:
    for name, _, _ in _policies_of(table):
        op.execute(f"drop policy if exists {name} on {table}")
    op.execute(f"alter table {table} no force row level security")
    op.execute(f"alter table {table} disable row level security")


def _policies_of(table: str) -> Sequence[tuple[str, str, str]]:
    # What is no table of its own is a part of the ledger.
    return _POLICIES.get(table, _LOGS)


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _moment() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
