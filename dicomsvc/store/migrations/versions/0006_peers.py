"""The peers that this node knows beside those of its settings."""

from alembic import op

revision = "0006"
down_revision = "0005"

_UP = r"""
"""
_DOWN = r"""
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
