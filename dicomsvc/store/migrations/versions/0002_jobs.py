"""Work items, and the queue that delivers them (procrastinate's own schema)."""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0002"
down_revision = "0001"

_UP = """
CREATE TABLE work_item (
  uid text COLLATE "C" PRIMARY KEY,
  kind text NOT NULL,
  state text NOT NULL CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
  priority text NOT NULL CHECK (priority IN ('HIGH', 'MEDIUM', 'LOW')),
  requested_by text NOT NULL,
  idempotency_key text COLLATE "C" UNIQUE,
  retry_of text COLLATE "C",
  inputs jsonb NOT NULL,
  outputs jsonb NOT NULL DEFAULT '{}',
  progress_done bigint NOT NULL DEFAULT 0,
  progress_total bigint NOT NULL DEFAULT 0,
  progress_text text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  error text,
  error_kind text,
  log text[] NOT NULL DEFAULT '{}',
  cancellation_requested boolean NOT NULL DEFAULT false,
  worker text,
  delivery bigint,
  created timestamptz NOT NULL DEFAULT clock_timestamp(),
  started timestamptz,
  ended timestamptz,
  updated timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX work_item_created ON work_item (created DESC, uid DESC);
CREATE INDEX work_item_state ON work_item (state, created DESC);
CREATE INDEX work_item_kind ON work_item (kind, created DESC);
"""


def upgrade() -> None:
    op.execute(_UP)
    # The script is many statements with percent signs in bodies of functions: it goes to the driver as it is.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(SchemaManager.get_schema().encode())
    cursor.close()


def downgrade() -> None:
    op.execute("DROP TABLE work_item")
    op.execute(
        """
        DO $$
        DECLARE name text;
        BEGIN
          FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE starts_with(proname, 'procrastinate_') LOOP
            EXECUTE 'DROP FUNCTION ' || name || ' CASCADE';
          END LOOP;
          DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs, procrastinate_workers;
          DROP TYPE procrastinate_job_to_defer_v1, procrastinate_job_status, procrastinate_job_event_type;
        END $$
        """
    )
