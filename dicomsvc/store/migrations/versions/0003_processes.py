"""The processes of a service."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE process (
          id text PRIMARY KEY,
          role text NOT NULL,
          host text NOT NULL,
          pid integer NOT NULL,
          address text NOT NULL,
          at timestamptz NOT NULL DEFAULT now(),
          resident_bytes bigint NOT NULL,
          counters jsonb NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE process")
