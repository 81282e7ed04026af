-- What the servers that write the WAL said of a timeline: see 0001 for how columns are named.

ALTER TABLE timelines ADD COLUMN servers TEXT GENERATED ALWAYS AS (json_extract(scan, '$.servers')) VIRTUAL;
