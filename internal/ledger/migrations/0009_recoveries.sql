-- Timelines made by recovery. Each has a row in timelines, too, with shadow = 1,
-- until it is deleted; the row here stays, so that its name is not used again
-- for other content.

CREATE TABLE recoveries (
    tenant               TEXT NOT NULL,
    timeline             TEXT NOT NULL,     -- of the new timeline
    source               TEXT NOT NULL,     -- the configured source that is read
    ancestor_timeline_id TEXT NOT NULL,     -- whose WAL it is made from
    ancestor_lsn         TEXT,              -- where it leaves that timeline, NULL until it is known
    base                 TEXT NOT NULL,     -- name of the snapshot
    base_lsn             TEXT NOT NULL,     -- at which it is consistent
    from_lsn             TEXT,              -- as asked for
    to_lsn               TEXT,
    to_time              TEXT,
    target_lsn           TEXT,              -- what is to be reached, NULL until it is known
    last_record_lsn      TEXT,              -- what is reached, NULL until something is
    state                TEXT NOT NULL CHECK (state IN ('recovering', 'active', 'failed', 'cancelled', 'deleting', 'deleted')),
    reason               TEXT NOT NULL DEFAULT '',  -- why it failed, or what is doubtful about it
    directory            TEXT NOT NULL,
    created_at           TEXT NOT NULL,
    started_at           TEXT,
    ended_at             TEXT,
    PRIMARY KEY (tenant, timeline),
    CHECK ((state = 'recovering') = (ended_at IS NULL))
);
CREATE INDEX recoveries_unfinished ON recoveries (state) WHERE state IN ('recovering', 'deleting');
