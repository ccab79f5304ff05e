"""The tables of the main database, for SQLite and PostgreSQL alike. Names and columns are a contract."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[int]):
    """Microseconds since the epoch in Python; timestamptz in PostgreSQL, an integer in SQLite."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "postgresql":
            return value
        # Through a float, a microsecond would be lost from the year 2242 on.
        return EPOCH + value * MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        if value is None:
            return None
        return (value - EPOCH) // MICROSECOND if isinstance(value, datetime) else int(value)


def _id() -> sa.Uuid[str]:
    return sa.Uuid(as_uuid=False)


def _sorted_text(length: int) -> TypeEngine[str]:
    """Text that is compared by its bytes, as SQLite does it, whatever the language of the database."""
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


ai_api_keys = sa.Table(
    "ai_api_keys",
    metadata,
    sa.Column("id", _id(), primary_key=True),
    sa.Column("logical_id", _id(), nullable=False),
    sa.Column("kid", sa.String(12), nullable=False, unique=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(64)),
    sa.Column("key_name", sa.String(128), nullable=False),
    sa.Column("key_hash", sa.String(60), nullable=False),
    sa.Column("key_mac", sa.LargeBinary(32), nullable=False),
    sa.Column("mac_version", sa.SmallInteger, nullable=False),
    sa.Column("tier", sa.String(16), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("allowed_ips", sa.JSON, nullable=False),
    sa.Column("quota_requests_per_hour", sa.BigInteger),
    sa.Column("tokens_per_hour", sa.BigInteger),
    sa.Column("concurrency", sa.Integer),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("last_used_at", Moment),
    sa.Index(None, "tenant_id", "id"),
)

auth_events = sa.Table(
    "auth_events",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("kid", sa.String(12), nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
    sqlite_autoincrement=True,
)

# api_key_id is the logical id of ai_api_keys (rotation keeps it), or the zero UUID of the built-in tenants;
# there is no foreign key, so that erasing a key never touches the ledger.
ai_usage_logs = sa.Table(
    "ai_usage_logs",
    metadata,
    sa.Column("id", _id(), primary_key=True),
    sa.Column("api_key_id", _id(), nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(64)),
    sa.Column("endpoint", sa.String(64), nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("total_tokens", sa.BigInteger, nullable=False),
    sa.Column("tokens_saved", sa.BigInteger, nullable=False),
    sa.Column("cost_nano", sa.BigInteger, nullable=False),
    sa.Column("model_used", sa.String(256)),
    sa.Column("response_cached", sa.Boolean, nullable=False),
    sa.Column("response_time_ms", sa.BigInteger, nullable=False),
    sa.Column("status_code", sa.SmallInteger, nullable=False),
    sa.Column("error_message", sa.String(500)),
    sa.Column("created_at", Moment, primary_key=True),
    sa.Index(None, "tenant_id", "id"),
    sa.Index(None, "api_key_id", "created_at"),
    # By month; `partitions` makes them ahead. What fits none of them is in ai_usage_logs_default.
    postgresql_partition_by="RANGE (created_at)",
)


def _sums() -> tuple[sa.Column[int], ...]:
    names = (
        "requests",
        "cached",
        "prompt_tokens",
        "completion_tokens",
        "tokens_saved",
        "cost_nano",
        "response_time_ms",
    )
    return tuple(sa.Column(name, sa.BigInteger, nullable=False) for name in names)


# Sums of ai_usage_logs by the hour of created_at, written in the transaction that inserts the rows, so that a page of
# usage reads some hundred rows however many requests there were. Without a model the name is empty.
ai_usage_rollups = sa.Table(
    "ai_usage_rollups",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("api_key_id", _id(), primary_key=True),
    sa.Column("hour", Moment, primary_key=True),
    sa.Column("endpoint", sa.String(64), primary_key=True),
    sa.Column("model_used", sa.String(256), primary_key=True),
    sa.Column("status_code", sa.SmallInteger, primary_key=True),
    *_sums(),
)

# The same sums over everything, for the operator.
ai_usage_totals = sa.Table(
    "ai_usage_totals",
    metadata,
    sa.Column("status_code", sa.SmallInteger, primary_key=True, autoincrement=False),
    *_sums(),
)

usage_dead_letters = sa.Table(
    "usage_dead_letters",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("record", sa.JSON, nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

# Limits that an operator sets for a tenant (user_id empty) or for one of its users; null is no limit.
ai_limits = sa.Table(
    "ai_limits",
    metadata,
    sa.Column("tenant_id", _sorted_text(64), primary_key=True),
    sa.Column("user_id", _sorted_text(64), primary_key=True),
    sa.Column("requests_per_hour", sa.BigInteger),
    sa.Column("tokens_per_hour", sa.BigInteger),
    sa.Column("concurrency", sa.Integer),
    sa.Column("changed_at", Moment, nullable=False, index=True),
)

# A request that was sent with an Idempotency-Key: running (answer is null, owned until lease_until) or answered.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller_id", sa.String(64), primary_key=True),
    sa.Column("idempotency_key", sa.String(255), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("request_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("owner", _id(), nullable=False),
    sa.Column("lease_until", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
    sa.Column("answer", sa.LargeBinary),
)

# A response that its caller asked to have stored: in the making (lease_until says how long that is believed), or ended.
ai_responses = sa.Table(
    "ai_responses",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("id", _id(), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("is_background", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("conversation", sa.LargeBinary, nullable=False),
    sa.Column("chunks", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("lease_until", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
)

# Databases of others that SQL assist may read; the address is sealed, for it has a password.
ai_databases = sa.Table(
    "ai_databases",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("sealed_url", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

# What the response cache holds, as far as that is known here: the answers stand in Redis, which may have dropped them.
ai_cache = sa.Table(
    "ai_cache",
    metadata,
    sa.Column("cache_key", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False, index=True),
    sa.Column("model_used", sa.String(256), nullable=False),
    sa.Column("response_data", sa.JSON),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
    sa.Column("hit_count", sa.BigInteger, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.String(64), nullable=False, index=True),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("chain", sa.LargeBinary(32), nullable=False),
)
