"""When each stored file was last compared with the digest that it came with, and the checks of its blocks."""

from alembic import op

revision = "0011"
down_revision = "0010"

_UP = r"""
-- Beside `instance`, whose many indexes would have to be written whenever a file is read again.
CREATE TABLE verification (
  instance_key bigint PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,
  verified_at timestamptz NOT NULL DEFAULT now(),
  -- CRC-32 of each block of the file, once it has been read as a whole.
  checks bytea
);
ALTER TABLE verification ALTER checks SET STORAGE EXTERNAL;
CREATE INDEX verification_order ON verification (verified_at);
CREATE INDEX verification_unread ON verification (instance_key) WHERE checks IS NULL;
INSERT INTO verification (instance_key, verified_at) SELECT id, stored_at FROM instance;
CREATE INDEX instance_damaged ON instance (id) WHERE damaged;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute("DROP INDEX instance_damaged")
    op.execute("DROP TABLE verification")
