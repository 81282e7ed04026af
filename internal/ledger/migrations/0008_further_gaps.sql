-- Missing segments in gaps that a scan does not list: see 0001 for how columns are named.

ALTER TABLE timelines ADD COLUMN missing_unlisted INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.missing_unlisted')) VIRTUAL;
