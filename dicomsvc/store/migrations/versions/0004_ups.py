"""Work items as Unified Procedure Steps: what their creators said, who may change them, who hears of it."""

from alembic import op

revision = "0004"
down_revision = "0003"

_UP = r"""
ALTER TABLE work_item
  ADD attributes jsonb NOT NULL DEFAULT '{}',
  ADD transaction_uid text COLLATE "C",
  ADD cancellation jsonb,
  ADD progress_from bigint,
  ADD progress_from_at timestamptz,
  ADD progress_at timestamptz,
  ADD study_instance_uid text COLLATE "C" GENERATED ALWAYS AS (coalesce(
    inputs ->> 'study_instance_uid',
    attributes #>> '{00404021,Value,0,0020000D,Value,0}',
    attributes #>> '{0020000D,Value,0}',
    outputs ->> 'study_instance_uid')) STORED;
CREATE INDEX work_item_study ON work_item (study_instance_uid);

CREATE TABLE subscriber (
  aet text COLLATE "C" PRIMARY KEY,
  follows text NOT NULL DEFAULT 'none' CHECK (follows IN ('none', 'all', 'filter')),
  filter jsonb NOT NULL DEFAULT '[]',
  deletion_lock boolean NOT NULL DEFAULT false,
  position bigint NOT NULL
);
CREATE TABLE subscription (
  aet text COLLATE "C" NOT NULL REFERENCES subscriber (aet) ON DELETE CASCADE,
  uid text COLLATE "C" NOT NULL,
  active boolean NOT NULL,
  deletion_lock boolean NOT NULL DEFAULT false,
  PRIMARY KEY (aet, uid)
);
CREATE INDEX subscription_uid ON subscription (uid) WHERE active;

CREATE TABLE work_item_event (
  sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  transaction bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
  uid text COLLATE "C" NOT NULL,
  event_type smallint NOT NULL,
  aet text COLLATE "C",
  detail jsonb NOT NULL
);
CREATE INDEX work_item_event_at ON work_item_event (at);

-- What an event report says of a work item as it stands (PS3.4 CC.2.4.1).
CREATE FUNCTION work_item_detail(item work_item) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object(
  'state', item.state, 'readiness', coalesce(item.attributes #>> '{00404041,Value,0}', 'READY'),
  'error', item.error, 'error_kind', item.error_kind, 'cancellation', item.cancellation,
  'done', item.progress_done, 'total', item.progress_total, 'text', item.progress_text, 'worker', item.worker,
  'progress_information', item.attributes -> '00741002',
  'stations', item.attributes -> '00404025', 'performers', item.attributes -> '00404034');

-- PS3.4 CC.2.4.3, whoever changes the row. A trigger, because workers, web processes and commands all do.
CREATE FUNCTION work_item_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  types smallint[] := '{}';
  assigned boolean := coalesce(NEW.worker, NEW.attributes #>> '{00404025,Value,0}',
    NEW.attributes #>> '{00404034,Value,0}') IS NOT NULL;
BEGIN
  IF NOT EXISTS (SELECT FROM subscriber) THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    types := CASE WHEN assigned THEN '{1,5}' ELSE '{1}' END;
  ELSE
    IF NEW.state IS DISTINCT FROM OLD.state
       OR NEW.attributes -> '00404041' IS DISTINCT FROM OLD.attributes -> '00404041' THEN
      types := types || 1::smallint;
    END IF;
    IF NEW.cancellation IS DISTINCT FROM OLD.cancellation THEN
      types := types || 2::smallint;
    END IF;
    IF (NEW.progress_done, NEW.progress_total, NEW.progress_text)
         IS DISTINCT FROM (OLD.progress_done, OLD.progress_total, OLD.progress_text)
       OR NEW.attributes -> '00741002' IS DISTINCT FROM OLD.attributes -> '00741002' THEN
      types := types || 3::smallint;
    END IF;
    IF assigned AND (NEW.worker, NEW.attributes -> '00404025', NEW.attributes -> '00404034')
         IS DISTINCT FROM (OLD.worker, OLD.attributes -> '00404025', OLD.attributes -> '00404034') THEN
      types := types || 5::smallint;
    END IF;
  END IF;
  IF types <> '{}' THEN
    INSERT INTO work_item_event (uid, event_type, detail)
      SELECT NEW.uid, event_type, work_item_detail(NEW) FROM unnest(types) AS event_type;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER work_item_tell AFTER INSERT OR UPDATE ON work_item FOR EACH ROW EXECUTE FUNCTION work_item_tell();
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute("DROP TRIGGER work_item_tell ON work_item")
    op.execute("DROP FUNCTION work_item_tell(), work_item_detail(work_item)")
    op.execute("DROP TABLE work_item_event, subscription, subscriber")
    op.execute(
        "ALTER TABLE work_item DROP study_instance_uid, DROP attributes, DROP transaction_uid, DROP cancellation,"
        " DROP progress_from, DROP progress_from_at, DROP progress_at"
    )
