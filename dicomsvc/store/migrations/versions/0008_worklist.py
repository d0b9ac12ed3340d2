"""The modality worklist."""

from alembic import op

revision = "0008"
down_revision = "0007"

_UP = r"""
"""
_DOWN = r"""
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
