-- What verify says of lost writes: see 0001 for how columns are named.

ALTER TABLE spans ADD COLUMN lost_writes TEXT GENERATED ALWAYS AS (json_extract(verification, '$.lost_writes')) VIRTUAL;
ALTER TABLE spans ADD COLUMN audit_images INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.audit.images')) VIRTUAL;
ALTER TABLE spans ADD COLUMN audit_images_checked INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.audit.images_checked')) VIRTUAL;
ALTER TABLE spans ADD COLUMN audit_blocks_forgotten INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.audit.blocks_forgotten')) VIRTUAL;
ALTER TABLE spans ADD COLUMN audit_lost_writes INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.audit.lost_writes')) VIRTUAL;
