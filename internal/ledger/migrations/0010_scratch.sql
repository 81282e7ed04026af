-- Scratch space that a span took: see 0001 for how columns are named.

ALTER TABLE spans ADD COLUMN timing_scratch_bytes INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.timing.scratch_bytes')) VIRTUAL;
