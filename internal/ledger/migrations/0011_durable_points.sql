-- Up to where a recovery need not begin anew, and from where it went on.

ALTER TABLE recoveries ADD COLUMN durable_lsn TEXT;  -- the newest durable point, NULL if there was none
ALTER TABLE recoveries ADD COLUMN resumed_lsn TEXT;  -- the durable point that it went on from last, NULL if it never did
