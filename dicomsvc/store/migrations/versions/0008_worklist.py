"""The modality worklist."""

from alembic import op

revision = "0008"
down_revision = "0007"

_UP = r"""
CREATE TABLE worklist_entry (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uid text COLLATE "C" NOT NULL UNIQUE,
  accession_number text COLLATE "C" NOT NULL,
  placer_order_number text COLLATE "C" NOT NULL,
  step_id text COLLATE "C" NOT NULL,
  container_identifier text COLLATE "C" NOT NULL,
  patient_id text COLLATE "C" NOT NULL,
  status text NOT NULL CHECK (status IN ('scheduled', 'arrived', 'ready', 'started', 'completed', 'cancelled')),
  start_date text COLLATE "C" NOT NULL,
  start_time text COLLATE "C" NOT NULL,
  content jsonb NOT NULL,
  attributes jsonb NOT NULL,
  source text NOT NULL,
  revision bigint NOT NULL DEFAULT 1,
  created timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_by text NOT NULL,
  UNIQUE (accession_number, placer_order_number, step_id, container_identifier),
  CHECK (accession_number <> '' OR placer_order_number <> '' OR container_identifier <> '')
);
CREATE INDEX worklist_entry_placer ON worklist_entry (placer_order_number) WHERE placer_order_number <> '';
CREATE INDEX worklist_entry_container ON worklist_entry (container_identifier) WHERE container_identifier <> '';
CREATE INDEX worklist_entry_patient ON worklist_entry (patient_id);
CREATE INDEX worklist_entry_start ON worklist_entry (start_date, start_time, id);
CREATE INDEX worklist_entry_open ON worklist_entry (id) WHERE status NOT IN ('completed', 'cancelled');

CREATE TABLE worklist_message (
  key text COLLATE "C" PRIMARY KEY,
  received timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX worklist_message_received ON worklist_message (received);
"""
_DOWN = r"""
DROP TABLE worklist_message, worklist_entry;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
