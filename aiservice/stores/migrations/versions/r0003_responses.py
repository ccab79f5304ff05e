"""Responses that their callers asked to have stored."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "ai_responses",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("is_background", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("conversation", sa.LargeBinary(), nullable=False),
        sa.Column("chunks", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("lease_until", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_ai_responses"),
    )
    op.create_index("ix_ai_responses_expires_at", "ai_responses", ["expires_at"])


def downgrade() -> None:
    op.drop_table("ai_responses")


def _moment() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
