-- What a scan with --audit says: see 0001 for how columns are named.

ALTER TABLE timelines ADD COLUMN lost_writes TEXT GENERATED ALWAYS AS (json_extract(scan, '$.lost_writes')) VIRTUAL;
ALTER TABLE timelines ADD COLUMN audit_images INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.audit.images')) VIRTUAL;
ALTER TABLE timelines ADD COLUMN audit_images_checked INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.audit.images_checked')) VIRTUAL;
ALTER TABLE timelines ADD COLUMN audit_blocks_forgotten INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.audit.blocks_forgotten')) VIRTUAL;
ALTER TABLE timelines ADD COLUMN audit_lost_writes INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.audit.lost_writes')) VIRTUAL;
