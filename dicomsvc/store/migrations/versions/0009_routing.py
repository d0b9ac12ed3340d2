"""Routing: which rules wait for what, what is to go where, and what became of it."""

from alembic import op

revision = "0009"
down_revision = "0008"

_UP = r"""
-- Of what was stored: kind of its source, and who brought it.
ALTER TABLE change ADD source text NOT NULL DEFAULT '', ADD sender text COLLATE "C" NOT NULL DEFAULT '';

-- How far the change feed has been read.
CREATE TABLE routing_position (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  sequence bigint NOT NULL
);

-- What a rule is for, until nothing has been added to its series or study for long enough.
CREATE TABLE routing_wait (
  rule text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  study_instance_uid text COLLATE "C" NOT NULL,
  series_instance_uid text COLLATE "C" NOT NULL,
  sop_instance_uid text COLLATE "C" NOT NULL,
  source text NOT NULL,
  sender text COLLATE "C" NOT NULL,
  PRIMARY KEY (rule, sequence)
);
CREATE INDEX routing_wait_study ON routing_wait (rule, study_instance_uid, series_instance_uid);

-- When something was last added to a series: at all, and from elsewhere.
CREATE TABLE routing_activity (
  study_instance_uid text COLLATE "C" NOT NULL,
  series_instance_uid text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  at_from_elsewhere timestamptz,
  PRIMARY KEY (study_instance_uid, series_instance_uid)
);

CREATE TABLE forward (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule text COLLATE "C" NOT NULL,
  action text NOT NULL CHECK (action IN ('store', 'stow', 'notify', 'webhook', 'analyze')),
  destination text COLLATE "C" NOT NULL,
  study_instance_uid text COLLATE "C" NOT NULL,
  series_instance_uid text COLLATE "C",
  commitment boolean NOT NULL DEFAULT false,
  state text NOT NULL DEFAULT 'waiting'
    CHECK (state IN ('waiting', 'ordered', 'running', 'pausing', 'confirming', 'done', 'dead', 'dropped')),
  -- Whether it takes one of the destination's places while it pauses.
  holds boolean NOT NULL DEFAULT false,
  tries integer NOT NULL DEFAULT 0,
  orders integer NOT NULL DEFAULT 0,
  due timestamptz,
  reason text NOT NULL DEFAULT '',
  work_item text COLLATE "C",
  transaction_uid text COLLATE "C",
  created timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- From when on the time after which it is given up counts.
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  started timestamptz,
  ended timestamptz,
  updated timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX forward_open ON forward (action, destination, id) WHERE state NOT IN ('done', 'dead', 'dropped');
CREATE INDEX forward_state ON forward (state, id DESC);
CREATE INDEX forward_rule ON forward (rule, action, state);
CREATE INDEX forward_study ON forward (study_instance_uid);

CREATE TABLE forward_instance (
  forward bigint NOT NULL REFERENCES forward (id) ON DELETE CASCADE,
  sop_instance_uid text COLLATE "C" NOT NULL,
  sop_class_uid text COLLATE "C" NOT NULL,
  series_instance_uid text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'confirmed', 'failed', 'skipped')),
  status integer,
  note text NOT NULL DEFAULT '',
  -- How often the destination answered for it.
  answers integer NOT NULL DEFAULT 0,
  -- Under which SOP Instance UID the destination has it.
  sent_as text COLLATE "C",
  at timestamptz,
  PRIMARY KEY (forward, sop_instance_uid)
);
"""
_DOWN = r"""
DROP TABLE forward_instance, forward, routing_activity, routing_wait, routing_position;
ALTER TABLE change DROP source, DROP sender;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
