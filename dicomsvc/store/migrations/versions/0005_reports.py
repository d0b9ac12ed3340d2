"""Pathology reports: what came, what was read in it, what people said of that."""

from alembic import op

revision = "0005"
down_revision = "0004"

_UP = r"""
CREATE TABLE report (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uid text COLLATE "C" NOT NULL UNIQUE,
  sender text COLLATE "C" NOT NULL,
  report_id text COLLATE "C" NOT NULL,
  placer_order_number text COLLATE "C" NOT NULL,
  accession_number text COLLATE "C" NOT NULL,
  patient_id text COLLATE "C" NOT NULL,
  issuer_of_patient_id text COLLATE "C" NOT NULL,
  named_study_instance_uid text COLLATE "C",
  study_instance_uid text COLLATE "C",
  linked_by text,
  held text,
  version integer NOT NULL,
  status text NOT NULL CHECK (status IN ('preliminary', 'final', 'corrected', 'cancelled')),
  review text NOT NULL DEFAULT 'open' CHECK (review IN ('open', 'started', 'signed')),
  signed_by text,
  signed_name text,
  signed_organisation text,
  signed_at timestamptz,
  revision bigint NOT NULL DEFAULT 1,
  received timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK ((study_instance_uid IS NULL) <> (held IS NULL)),
  CHECK ((study_instance_uid IS NULL) = (linked_by IS NULL))
);
CREATE UNIQUE INDEX report_key ON report (sender, report_id) WHERE report_id <> '';
CREATE INDEX report_accession_number ON report (accession_number);
CREATE INDEX report_patient_id ON report (patient_id);
CREATE INDEX report_study ON report (study_instance_uid);
CREATE INDEX report_held ON report (accession_number) WHERE study_instance_uid IS NULL;
CREATE INDEX report_order ON report (received DESC, id DESC);

CREATE TABLE report_version (
  report bigint NOT NULL REFERENCES report (id),
  number integer NOT NULL,
  text text NOT NULL,
  sha256 bytea NOT NULL,
  source text NOT NULL,
  status text NOT NULL,
  observed text,
  control_id text NOT NULL,
  message_key text COLLATE "C" UNIQUE,
  received timestamptz NOT NULL DEFAULT clock_timestamp(),
  received_by text NOT NULL,
  state text NOT NULL CHECK (state IN ('waiting', 'structured', 'refused', 'failed', 'withdrawn')),
  reason text,
  attempts integer NOT NULL DEFAULT 0,
  document jsonb,
  structured_at timestamptz,
  search tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', left(text, 100000))) STORED,
  bigrams text[] NOT NULL,
  PRIMARY KEY (report, number)
);
CREATE INDEX report_version_waiting ON report_version (received) WHERE state = 'waiting';
CREATE INDEX report_version_sha256 ON report_version (sha256);
CREATE INDEX report_version_search ON report_version USING gin (search);
CREATE INDEX report_version_bigrams ON report_version USING gin (bigrams);

CREATE TABLE report_value (
  report bigint NOT NULL REFERENCES report (id),
  ordinal integer NOT NULL,
  field text NOT NULL,
  part text,
  value_text text,
  value_number double precision,
  status text NOT NULL,
  assertion text NOT NULL,
  review text NOT NULL CHECK (review IN ('open', 'accepted', 'corrected', 'added', 'removed')),
  found jsonb,
  holds jsonb NOT NULL,
  PRIMARY KEY (report, ordinal)
);
CREATE INDEX report_value_text ON report_value (field, lower(left(value_text, 200)));
CREATE INDEX report_value_number ON report_value (field, value_number);

CREATE TABLE report_review (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  report bigint NOT NULL REFERENCES report (id),
  version integer NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  who text NOT NULL,
  action text NOT NULL,
  ordinal integer,
  field text,
  old jsonb,
  new jsonb,
  comment text NOT NULL
);
CREATE INDEX report_review_report ON report_review (report, id);

CREATE TABLE report_object (
  sop_instance_uid text COLLATE "C" PRIMARY KEY,
  report bigint NOT NULL REFERENCES report (id),
  version integer NOT NULL,
  revision bigint NOT NULL,
  study_instance_uid text COLLATE "C" NOT NULL,
  series_instance_uid text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  who text NOT NULL
);
CREATE INDEX report_object_report ON report_object (report);
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute("DROP TABLE report_object, report_review, report_value, report_version, report")
