"""The audit trail."""

from alembic import op

revision = "0010"
down_revision = "0009"

_UP = r"""
"""
_DOWN = r"""
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
