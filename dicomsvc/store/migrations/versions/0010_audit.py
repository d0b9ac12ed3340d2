"""The audit trail: what happened is noted in `audit` by whoever does it, and from there joins the chain."""

from alembic import op

revision = "0010"
down_revision = "0009"

_UP = r"""
-- Of a deed: who, from which address, on which patient's objects, with what outcome (PS3.15 A.5.2: 0, 4, 8, 12).
ALTER TABLE audit
  ADD address text,
  ADD patient_id text,
  ADD sop_class_uid text,
  ADD outcome smallint NOT NULL DEFAULT 0;

CREATE TABLE audit_event (
  id bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  event text NOT NULL,
  outcome smallint NOT NULL,
  who text[] NOT NULL,
  study_instance_uids text[] NOT NULL,
  patient_ids text[] NOT NULL,
  message text NOT NULL,
  hash bytea NOT NULL
);
CREATE INDEX audit_event_at ON audit_event (at);
CREATE INDEX audit_event_who ON audit_event USING gin (who);
CREATE INDEX audit_event_study ON audit_event USING gin (study_instance_uids);
CREATE INDEX audit_event_patient ON audit_event USING gin (patient_ids);

-- The chain's last link, and its first one where older ones were removed.
CREATE TABLE audit_head (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  id bigint NOT NULL,
  hash bytea NOT NULL,
  pruned_id bigint NOT NULL DEFAULT 0,
  pruned_hash bytea NOT NULL
);
INSERT INTO audit_head (id, hash, pruned_hash)
  VALUES (0, decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'));

-- How far a collector has been told.
CREATE TABLE audit_sent (
  collector text PRIMARY KEY,
  id bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

-- Against mistakes; what an attacker changes, the chain shows.
CREATE FUNCTION audit_event_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('dicomsvc.audit_prune', true) = 'yes' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'the audit trail is only added to';
END $$;
CREATE TRIGGER audit_event_stays BEFORE UPDATE OR DELETE ON audit_event
  FOR EACH ROW EXECUTE FUNCTION audit_event_stays();
CREATE TRIGGER audit_event_is_not_emptied BEFORE TRUNCATE ON audit_event
  FOR EACH STATEMENT EXECUTE FUNCTION audit_event_stays();
"""
_DOWN = r"""
DROP TABLE audit_event, audit_head, audit_sent;
DROP FUNCTION audit_event_stays();
ALTER TABLE audit DROP address, DROP patient_id, DROP sop_class_uid, DROP outcome;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
