"""Limits of users and tenants, sums of the ledger by hour and over all, requests that may be repeated."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_SUMS = ("requests", "cached", "prompt_tokens", "completion_tokens", "tokens_saved", "cost_nano", "response_time_ms")
_SUMMED = (
    "count(*), sum(case when response_cached then 1 else 0 end), sum(prompt_tokens), sum(completion_tokens), "
    "sum(tokens_saved), sum(cost_nano), sum(response_time_ms) from ai_usage_logs"
)
_HOUR_SQLITE = "created_at / 3600000000 * 3600000000"
_HOUR_POSTGRES = "date_trunc('hour', created_at at time zone 'UTC') at time zone 'UTC'"


def upgrade() -> None:
    _create_limits()
    _create_rollups()
    _create_idempotency_keys()
    _sum_up()


def downgrade() -> None:
    for table in ("idempotency_keys", "ai_usage_totals", "ai_usage_rollups", "ai_limits"):
        op.drop_table(table)


def _create_limits() -> None:
    op.create_table(
        "ai_limits",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("requests_per_hour", sa.BigInteger()),
        sa.Column("tokens_per_hour", sa.BigInteger()),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("changed_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="pk_ai_limits"),
    )
    op.create_index("ix_ai_limits_changed_at", "ai_limits", ["changed_at"])


def _create_rollups() -> None:
    op.create_table(
        "ai_usage_rollups",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("api_key_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("hour", _moment(), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("model_used", sa.String(256), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS],
        sa.PrimaryKeyConstraint(
            "tenant_id", "api_key_id", "hour", "endpoint", "model_used", "status_code", name="pk_ai_usage_rollups"
        ),
    )
    op.create_table(
        "ai_usage_totals",
        sa.Column("status_code", sa.SmallInteger(), autoincrement=False, nullable=False),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS],
        sa.PrimaryKeyConstraint("status_code", name="pk_ai_usage_totals"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("owner", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lease_until", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.Column("answer", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("caller_id", "idempotency_key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])


def _sum_up() -> None:
    """What was used before there were sums."""
    hour = _HOUR_SQLITE if op.get_bind().dialect.name == "sqlite" else _HOUR_POSTGRES
    sums = ", ".join(_SUMS)
    op.execute(
        f"insert into ai_usage_rollups (tenant_id, api_key_id, hour, endpoint, model_used, status_code, {sums}) "
        f"select tenant_id, api_key_id, {hour}, endpoint, coalesce(model_used, ''), status_code, {_SUMMED} "
        "group by 1, 2, 3, 4, 5, 6"
    )
    op.execute(f"insert into ai_usage_totals (status_code, {sums}) select status_code, {_SUMMED} group by status_code")


def _moment() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
