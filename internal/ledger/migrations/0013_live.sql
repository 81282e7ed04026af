-- What could not be compared of a running server: see 0001 for how columns are named.

ALTER TABLE spans ADD COLUMN coverage_blocks_not_caught TEXT GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_not_caught')) VIRTUAL;
