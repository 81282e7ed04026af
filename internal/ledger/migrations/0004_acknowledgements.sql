-- Acknowledgements, and what retention needs. Rows of acknowledgements are
-- never changed but by their end: they are the record of who let what be.

CREATE TABLE acknowledgements (
    acknowledgement INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    timeline TEXT NOT NULL,
    id       TEXT NOT NULL,                 -- of the finding
    finding  TEXT NOT NULL CHECK (finding IN ('discrepancy', 'gap', 'damaged', 'lost_write')),
    about    TEXT NOT NULL,                 -- the finding in words, as it was
    severity TEXT NOT NULL DEFAULT '',      -- of a discrepancy: a worse one is not acknowledged
    segments TEXT NOT NULL DEFAULT '[]',    -- of a gap, JSON
    reason   TEXT NOT NULL,
    "by"     TEXT NOT NULL,
    at       TEXT NOT NULL,
    until    TEXT NOT NULL,
    ended_at TEXT,                          -- when it was removed or replaced, NULL if it was not
    ended_by TEXT,
    CHECK (until > at),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
-- A finding has one at most that was not ended.
CREATE UNIQUE INDEX acknowledgements_standing ON acknowledgements (tenant, timeline, id) WHERE ended_at IS NULL;

-- How many of the run's findings did not count when it ended.
ALTER TABLE runs ADD COLUMN acknowledged INTEGER NOT NULL DEFAULT 0;

-- What is left of runs that retention took away: counters and waiting times go on from these.
CREATE TABLE pruned_runs (
    run_id      TEXT PRIMARY KEY,
    job         TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    planned_at  TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    verdict     TEXT NOT NULL
);

-- Lists are paged by the first four columns of the index, and their filters are
-- answered from it alone. SQLite takes no index with generated columns for
-- enough: kind and severity are ordinary ones from here on.
DROP INDEX discrepancies_open;
ALTER TABLE discrepancies DROP COLUMN kind;
ALTER TABLE discrepancies DROP COLUMN severity;
ALTER TABLE discrepancies ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN severity TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN search TEXT NOT NULL DEFAULT '';   -- names, file and id, in lower case
UPDATE discrepancies SET kind = json_extract(discrepancy, '$.kind'), severity = json_extract(discrepancy, '$.severity'),
    search = lower(id || ' ' || coalesce(relation_name, '') || ' ' || file);
CREATE INDEX discrepancies_by_time ON discrepancies (last_seen, tenant, timeline, id, state, kind, severity, search);
CREATE INDEX discrepancies_by_id ON discrepancies (id);
CREATE INDEX discrepancies_by_first_run ON discrepancies (first_run_id);
CREATE INDEX discrepancies_by_last_run ON discrepancies (last_run_id);
CREATE INDEX discrepancies_gone ON discrepancies (gone_at) WHERE state = 'gone';
CREATE INDEX discrepancies_open ON discrepancies (tenant, timeline, severity, kind, id) WHERE state = 'open';
CREATE INDEX picks_by_timeline ON picks (tenant, timeline);
CREATE INDEX spans_with_gaps ON spans (tenant, timeline, run_id) WHERE json_array_length(verification, '$.gaps') > 0;
