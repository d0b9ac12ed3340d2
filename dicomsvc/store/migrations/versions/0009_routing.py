"""Forwarding: what is to go where, and what became of it."""

from alembic import op

revision = "0009"
down_revision = "0008"

_UP = r"""
"""
_DOWN = r"""
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
