"""The peers that this node knows beside those of its settings."""

from alembic import op

revision = "0006"
down_revision = "0005"

_UP = r"""
CREATE TABLE peer (
  name text COLLATE "C" PRIMARY KEY,
  ae_title text COLLATE "C" NOT NULL UNIQUE,
  host text,
  port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
  tls boolean NOT NULL,
  may text[] NOT NULL,
  addresses text[] NOT NULL,
  certificates text[] NOT NULL,
  calling_ae_title text,
  deidentify text,
  changed timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
_DOWN = r"""
DROP TABLE peer
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
