-- What is known of the WAL's dialect: see 0001 for how columns are named.

ALTER TABLE spans ADD COLUMN postgres_dialect_evidence INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.postgres.dialect_evidence')) VIRTUAL;
ALTER TABLE spans ADD COLUMN postgres_dialect_proven INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.postgres.dialect_proven')) VIRTUAL;
ALTER TABLE timelines ADD COLUMN dialect TEXT GENERATED ALWAYS AS (json_extract(scan, '$.dialect')) VIRTUAL;
