"""Keys and their events, the usage ledger with its dead letters, the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    _create_keys()
    _create_auth_events()
    _create_usage_logs()
    _create_usage_dead_letters()
    _create_audit_log()


def downgrade() -> None:
    for table in ("audit_log", "usage_dead_letters", "ai_usage_logs", "auth_events", "ai_api_keys"):
        op.drop_table(table)


def _create_keys() -> None:
    op.create_table(
        "ai_api_keys",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("logical_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kid", sa.String(12), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64)),
        sa.Column("key_name", sa.String(128), nullable=False),
        sa.Column("key_hash", sa.String(60), nullable=False),
        sa.Column("key_mac", sa.LargeBinary(32), nullable=False),
        sa.Column("mac_version", sa.SmallInteger(), nullable=False),
        sa.Column("tier", sa.String(16), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("allowed_ips", sa.JSON(), nullable=False),
        sa.Column("quota_requests_per_hour", sa.BigInteger()),
        sa.Column("tokens_per_hour", sa.BigInteger()),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.Column("last_used_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_ai_api_keys"),
        sa.UniqueConstraint("kid", name="uq_ai_api_keys_kid"),
    )
    op.create_index("ix_ai_api_keys_tenant_id_id", "ai_api_keys", ["tenant_id", "id"])


def _create_auth_events() -> None:
    op.create_table(
        "auth_events",
        sa.Column("seq", _counter(), autoincrement=True, nullable=False),
        sa.Column("kid", sa.String(12), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_auth_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_auth_events_created_at", "auth_events", ["created_at"])


def _create_usage_logs() -> None:
    op.create_table(
        "ai_usage_logs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("api_key_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64)),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("tokens_saved", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("model_used", sa.String(256)),
        sa.Column("response_cached", sa.Boolean(), nullable=False),
        sa.Column("response_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        sa.Column("error_message", sa.String(500)),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", "created_at", name="pk_ai_usage_logs"),
    )
    op.create_index("ix_ai_usage_logs_tenant_id_id", "ai_usage_logs", ["tenant_id", "id"])
    op.create_index("ix_ai_usage_logs_api_key_id_created_at", "ai_usage_logs", ["api_key_id", "created_at"])


def _create_usage_dead_letters() -> None:
    op.create_table(
        "usage_dead_letters",
        sa.Column("id", _counter(), autoincrement=True, nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usage_dead_letters"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", _counter(), autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("chain", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_tenant_id", "audit_log", ["tenant_id"])


# Types as they were at this revision: the tables of today may differ.
def _moment() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def _counter() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
