"""Storage commitment: what peers asked for and what they were told, what this node asked for and was told."""

from alembic import op

revision = "0007"
down_revision = "0006"

_UP = r"""
CREATE TABLE commitment (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ae_title text COLLATE "C" NOT NULL,
  transaction_uid text COLLATE "C" NOT NULL,
  content bytea NOT NULL,
  duplicate boolean NOT NULL,
  state text NOT NULL CHECK (state IN ('requested', 'checked', 'reported', 'given up')),
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  checked_at timestamptz,
  reported_at timestamptz,
  holder text,
  due_at timestamptz NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  last_error text,
  UNIQUE (ae_title, transaction_uid, content)
);
CREATE INDEX commitment_due ON commitment (state, due_at) WHERE state IN ('requested', 'checked');
CREATE INDEX commitment_transaction ON commitment (transaction_uid);
CREATE INDEX commitment_requested ON commitment (requested_at);
CREATE TABLE commitment_instance (
  commitment bigint NOT NULL REFERENCES commitment (id) ON DELETE CASCADE,
  position integer NOT NULL,
  sop_class_uid text COLLATE "C" NOT NULL,
  sop_instance_uid text COLLATE "C" NOT NULL,
  failure_reason integer,
  PRIMARY KEY (commitment, position)
);

CREATE TABLE commitment_asked (
  transaction_uid text COLLATE "C" PRIMARY KEY,
  sent_as text[] COLLATE "C" NOT NULL,
  ae_title text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('asking', 'asked', 'answered', 'refused', 'given up')),
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  answered_at timestamptz,
  due_at timestamptz NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  last_error text
);
CREATE INDEX commitment_asked_due ON commitment_asked (due_at) WHERE state IN ('asking', 'asked');
CREATE INDEX commitment_asked_requested ON commitment_asked (requested_at);
CREATE INDEX commitment_asked_ae_title ON commitment_asked (ae_title);
CREATE INDEX commitment_asked_sent_as ON commitment_asked USING gin (sent_as);
CREATE TABLE commitment_asked_instance (
  transaction_uid text COLLATE "C" NOT NULL REFERENCES commitment_asked (transaction_uid) ON DELETE CASCADE,
  position integer NOT NULL,
  sop_class_uid text COLLATE "C" NOT NULL,
  sop_instance_uid text COLLATE "C" NOT NULL,
  failure_reason integer,
  PRIMARY KEY (transaction_uid, position)
);
"""
_DOWN = r"""
DROP TABLE commitment_asked_instance, commitment_asked, commitment_instance, commitment
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
