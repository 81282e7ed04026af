-- What findings say beyond the first schema: see 0001 for how columns are named.

ALTER TABLE spans ADD COLUMN maps TEXT GENERATED ALWAYS AS (json_extract(verification, '$.maps')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_engine TEXT GENERATED ALWAYS AS (json_extract(verification, '$.witness.engine')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_version TEXT GENERATED ALWAYS AS (json_extract(verification, '$.witness.version')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_blocks_compared INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.witness.blocks_compared')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_differing INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.witness.differing')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_seconds REAL GENERATED ALWAYS AS (json_extract(verification, '$.witness.seconds')) VIRTUAL;
ALTER TABLE spans ADD COLUMN witness_log TEXT GENERATED ALWAYS AS (json_extract(verification, '$.witness.log')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN relation_database_name TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.database_name')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN relation_index_of TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.index_of')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN relation_toast_of TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.toast_of')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN first_divergent_reason TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.first_divergent_reason')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN confirmed_by TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.confirmed_by')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN records TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.records')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN records_total INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.records_total')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN pages_official TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.pages.official')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN pages_replayed TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.pages.replayed')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN pages_masked INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.pages.masked')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN pages_official_checksum INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.pages.official_checksum')) VIRTUAL;
ALTER TABLE discrepancies ADD COLUMN items TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.items')) VIRTUAL;
