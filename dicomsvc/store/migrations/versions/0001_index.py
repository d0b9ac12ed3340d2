"""The index of instances, the change feed, the audit record."""

from alembic import op

revision = "0001"
down_revision = None

_UP = r"""
-- A text without accents and, in ASCII, without case. The query's side is `dicomsvc.store.query.values.fold`.
CREATE FUNCTION fold(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 200 RETURN
  upper(regexp_replace(normalize(value, NFKD), '[\u0300-\u036f]', '', 'g') COLLATE "C");
-- Pairs of neighbouring characters, and single ones of scripts in which one is a word: with a GIN index on them, any
-- wildcard of two characters (of those scripts: of one) or more is an index scan, without an extension that an embedded
-- server lacks. Of a text longer than any that the standard allows, the begin. PL/pgSQL takes an eighth of SQL's time.
-- `fold` is written out, because indexes are made and analysed with a search path that lacks our schema.
CREATE FUNCTION bigrams(value text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 500 AS $$
DECLARE
  folded text := upper(regexp_replace(normalize(coalesce(left(value, 1024), ''), NFKD), '[\u0300-\u036f]', '', 'g')
    COLLATE "C");
  found text[] := '{}';
BEGIN
  FOR i IN 1..length(folded) - 1 LOOP
    found := found || substr(folded, i, 2);
  END LOOP;
  IF octet_length(folded) > length(folded) THEN
    FOR i IN 1..length(folded) LOOP
      IF substr(folded, i, 1) COLLATE "C" >= U&'\2E80' THEN
        found := found || substr(folded, i, 1);
      END IF;
    END LOOP;
  END IF;
  RETURN found;
END $$;

CREATE TABLE study (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  study_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  patient_id text COLLATE "C",
  patient_name text COLLATE "C",
  patient_birth_date text COLLATE "C",
  accession_number text COLLATE "C",
  study_id text COLLATE "C",
  study_date text COLLATE "C",
  study_time text COLLATE "C",
  study_description text COLLATE "C",
  referring_physician_name text COLLATE "C",
  modalities text[] NOT NULL,
  sop_classes text[] NOT NULL,
  attributes jsonb NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX study_patient_id ON study (patient_id);
CREATE INDEX study_patient_name ON study (patient_name);
CREATE INDEX study_accession_number ON study (accession_number);
CREATE INDEX study_study_id ON study (study_id);
CREATE INDEX study_order ON study (study_date DESC NULLS LAST, study_time DESC NULLS LAST, id DESC);
CREATE INDEX study_patient_birth_date ON study (patient_birth_date);
CREATE INDEX study_modalities ON study USING gin (modalities);
CREATE INDEX study_sop_classes ON study USING gin (sop_classes);
CREATE INDEX study_patient_name_bigrams ON study USING gin (bigrams(patient_name));
CREATE INDEX study_patient_id_bigrams ON study USING gin (bigrams(patient_id));
CREATE INDEX study_accession_number_bigrams ON study USING gin (bigrams(accession_number));
CREATE INDEX study_study_description_bigrams ON study USING gin (bigrams(study_description));
CREATE INDEX study_referring_physician_name_bigrams ON study USING gin (bigrams(referring_physician_name));

CREATE TABLE series (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  study_key bigint NOT NULL REFERENCES study (id),
  series_instance_uid text COLLATE "C" NOT NULL,
  modality text COLLATE "C",
  series_number bigint,
  series_date text COLLATE "C",
  series_description text COLLATE "C",
  number_of_instances integer NOT NULL,
  attributes jsonb NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (study_key, series_instance_uid)
);
CREATE INDEX series_series_instance_uid ON series (series_instance_uid);
CREATE INDEX series_modality ON series (modality, id);
CREATE INDEX series_date ON series (series_date);
CREATE INDEX series_description_bigrams ON series USING gin (bigrams(series_description));

CREATE TABLE instance (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series_key bigint NOT NULL REFERENCES series (id),
  sop_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  sop_class_uid text COLLATE "C" NOT NULL,
  transfer_syntax_uid text COLLATE "C" NOT NULL,
  instance_number bigint,
  container_identifier text COLLATE "C",
  number_of_frames bigint NOT NULL,
  file_key text COLLATE "C" NOT NULL UNIQUE,
  size bigint NOT NULL,
  sha256 bytea NOT NULL,
  damaged boolean NOT NULL DEFAULT false,
  source text NOT NULL,
  attributes jsonb NOT NULL,
  -- Specimen Identifier (0040,0551) of all items of Specimen Description Sequence (0040,0560).
  specimen_identifiers jsonb GENERATED ALWAYS AS (
    jsonb_path_query_array(attributes, '$."00400560"."Value"[*]."00400551"."Value"[*]')) STORED,
  stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX instance_series ON instance (series_key);
CREATE INDEX instance_sop_class ON instance (sop_class_uid, id);
CREATE INDEX instance_syntaxes ON instance (sop_class_uid, transfer_syntax_uid);
CREATE INDEX instance_container ON instance (container_identifier);
CREATE INDEX instance_container_bigrams ON instance USING gin (bigrams(container_identifier));
CREATE INDEX instance_specimens ON instance USING gin (specimen_identifiers jsonb_path_ops);
CREATE INDEX instance_specimens_bigrams ON instance USING gin (bigrams(CAST(specimen_identifiers AS text)));

CREATE TABLE instance_blob (
  instance_key bigint PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,
  metadata bytea NOT NULL,
  frames bytea
);
-- Both are compressed already.
ALTER TABLE instance_blob ALTER metadata SET STORAGE EXTERNAL, ALTER frames SET STORAGE EXTERNAL;

CREATE TABLE change (
  sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  transaction bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
  kind text NOT NULL,
  study_instance_uid text NOT NULL,
  series_instance_uid text NOT NULL,
  sop_instance_uid text NOT NULL,
  sop_class_uid text NOT NULL
);

CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  who text NOT NULL,
  action text NOT NULL,
  study_instance_uid text,
  series_instance_uid text,
  sop_instance_uid text,
  detail jsonb NOT NULL DEFAULT '{}'
);
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute("DROP TABLE audit, change, instance_blob, instance, series, study")
    op.execute("DROP FUNCTION bigrams(text), fold(text)")
