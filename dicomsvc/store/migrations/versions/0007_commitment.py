"""Storage commitment: what peers asked for and what they were told."""

from alembic import op

revision = "0007"
down_revision = "0006"

_UP = r"""
"""
_DOWN = r"""
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
