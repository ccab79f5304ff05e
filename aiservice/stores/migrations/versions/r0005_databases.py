"""The databases that operators register for SQL assist."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_TENANT = "tenant_id = (select nullif(current_setting('app.tenant_id', true), ''))"


def upgrade() -> None:
    op.create_table(
        "ai_databases",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sealed_url", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_ai_databases"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("alter table ai_databases enable row level security")
        op.execute("alter table ai_databases force row level security")
        op.execute(f"create policy tenant on ai_databases for all using ({_TENANT})")


def downgrade() -> None:
    op.drop_table("ai_databases")


def _moment() -> TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
