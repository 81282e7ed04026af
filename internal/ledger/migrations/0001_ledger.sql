-- Names are those of the JSON; a nested key is joined to its parent with an
-- underscore (docs/ledger.md). Columns made from the JSON beside them are
-- generated, so that the two never disagree. Lists are JSON text. Times are
-- UTC, of fixed width, so that they sort as text. LSNs are text as PostgreSQL
-- prints them and do not sort.

CREATE TABLE runs (
    run_id      TEXT PRIMARY KEY,
    job         TEXT NOT NULL,
    seed        INTEGER NOT NULL,
    started_at  TEXT NOT NULL,
    planned_at  TEXT,                       -- when picks and spans were written down
    finished_at TEXT,                       -- NULL while it runs, or until a killed run is resumed
    verdict     TEXT CHECK (verdict IN ('clean', 'findings', 'inconclusive')),
    reasons     TEXT NOT NULL DEFAULT '[]',
    CHECK ((finished_at IS NULL) = (verdict IS NULL))
);
CREATE INDEX runs_by_start ON runs (started_at);
-- A job has one unfinished run at most: runs of a job never overlap.
CREATE UNIQUE INDEX runs_unfinished ON runs (job) WHERE finished_at IS NULL;

-- The timelines a run picked, in order.
CREATE TABLE picks (
    run_id     TEXT NOT NULL REFERENCES runs (run_id),
    ordinal    INTEGER NOT NULL,
    source     TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    timeline   TEXT NOT NULL,
    reasons    TEXT NOT NULL DEFAULT '[]',  -- what of it cannot be verified, and why
    scan       TEXT,                        -- JSON, one element of scan's timelines
    scanned_at TEXT,
    PRIMARY KEY (run_id, tenant, timeline)
);

CREATE TABLE spans (
    run_id       TEXT NOT NULL,
    span         INTEGER NOT NULL,          -- order of execution within the run
    source       TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    timeline     TEXT NOT NULL,
    tli          INTEGER NOT NULL,
    base         TEXT NOT NULL,             -- names of snapshots
    official     TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('planned', 'finished', 'deferred')),
    finished_at  TEXT,
    verification TEXT NOT NULL,             -- JSON, the object of verify
    verdict      TEXT GENERATED ALWAYS AS (json_extract(verification, '$.verdict')) STORED,
    reasons      TEXT GENERATED ALWAYS AS (json_extract(verification, '$.reasons')) VIRTUAL,
    span_from    TEXT GENERATED ALWAYS AS (json_extract(verification, '$.span.from')) STORED,
    span_to      TEXT GENERATED ALWAYS AS (json_extract(verification, '$.span.to')) STORED,
    engine       TEXT GENERATED ALWAYS AS (json_extract(verification, '$.engine')) STORED,
    postgres_major INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.postgres.major')) STORED,
    postgres_system_identifier TEXT GENERATED ALWAYS AS (json_extract(verification, '$.postgres.system_identifier')) STORED,
    postgres_dialect TEXT GENERATED ALWAYS AS (json_extract(verification, '$.postgres.dialect')) STORED,
    wal_segments INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.wal.segments')) STORED,
    wal_bytes    INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.wal.bytes')) STORED,
    wal_records  INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.wal.records')) STORED,
    wal_full_page_images INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.wal.full_page_images')) STORED,
    consistency_images_checked INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.consistency.images_checked')) STORED,
    consistency_mismatches INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.consistency.mismatches')) STORED,
    coverage_relations INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.relations')) STORED,
    coverage_blocks_replayed INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_replayed')) STORED,
    coverage_blocks_compared INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_compared')) STORED,
    coverage_blocks_untouched_compared INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_untouched_compared')) STORED,
    coverage_blocks_tainted INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_tainted')) STORED,
    coverage_blocks_overwritten_by_wal INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_overwritten_by_wal')) STORED,
    coverage_blocks_unverifiable INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_unverifiable')) STORED,
    coverage_blocks_skipped INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.blocks_skipped')) STORED,
    coverage_slru_pages_compared INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.coverage.slru_pages_compared')) STORED,
    coverage_tainted_by TEXT GENERATED ALWAYS AS (json_extract(verification, '$.coverage.tainted_by')) VIRTUAL,
    coverage_relations_skipped TEXT GENERATED ALWAYS AS (json_extract(verification, '$.coverage.relations_skipped')) VIRTUAL,
    discrepancies TEXT GENERATED ALWAYS AS (json_extract(verification, '$.discrepancies')) VIRTUAL,
    discrepancy_counts_critical INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.discrepancy_counts.critical')) STORED,
    discrepancy_counts_warning INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.discrepancy_counts.warning')) STORED,
    discrepancy_counts_benign INTEGER GENERATED ALWAYS AS (json_extract(verification, '$.discrepancy_counts.benign')) STORED,
    gaps         TEXT GENERATED ALWAYS AS (json_extract(verification, '$.gaps')) VIRTUAL,
    timing_wall_seconds REAL GENERATED ALWAYS AS (json_extract(verification, '$.timing.wall_seconds')) STORED,
    timing_wal_mb_per_second REAL GENERATED ALWAYS AS (json_extract(verification, '$.timing.wal_mb_per_second')) STORED,
    PRIMARY KEY (run_id, span),
    FOREIGN KEY (run_id, tenant, timeline) REFERENCES picks (run_id, tenant, timeline),
    CHECK ((state = 'finished') = (finished_at IS NOT NULL))
);
CREATE INDEX spans_by_timeline ON spans (tenant, timeline, base, official, finished_at);

-- One row per discrepancy, by its stable id, over all runs.
CREATE TABLE discrepancies (
    tenant       TEXT NOT NULL,
    timeline     TEXT NOT NULL,
    id           TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('open', 'gone')),
    first_seen   TEXT NOT NULL,
    first_run_id TEXT NOT NULL REFERENCES runs (run_id),
    last_seen    TEXT NOT NULL,
    last_run_id  TEXT NOT NULL REFERENCES runs (run_id),
    gone_at      TEXT,
    discrepancy  TEXT NOT NULL,             -- JSON, one element of verify's discrepancies, as last seen
    kind         TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.kind')) STORED,
    severity     TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.severity')) STORED,
    relation_tablespace INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.tablespace')) VIRTUAL,
    relation_database INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.database')) VIRTUAL,
    relation_relfilenode INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.relfilenode')) VIRTUAL,
    relation_fork TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.fork')) VIRTUAL,
    relation_name TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.relation.name')) VIRTUAL,
    block        INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.block')) VIRTUAL,
    file         TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.file')) VIRTUAL,
    offset       INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.offset')) VIRTUAL,
    official_lsn TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.official_lsn')) VIRTUAL,
    replayed_lsn TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.replayed_lsn')) VIRTUAL,
    first_divergent_lsn TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.first_divergent_lsn')) VIRTUAL,
    last_record_lsn TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.last_record.lsn')) VIRTUAL,
    last_record_rmgr TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.last_record.rmgr')) VIRTUAL,
    last_record_op TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.last_record.op')) VIRTUAL,
    last_record_xid INTEGER GENERATED ALWAYS AS (json_extract(discrepancy, '$.last_record.xid')) VIRTUAL,
    byte_ranges  TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.byte_ranges')) VIRTUAL,
    blame        TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.blame')) VIRTUAL,
    explanation  TEXT GENERATED ALWAYS AS (json_extract(discrepancy, '$.explanation')) VIRTUAL,
    PRIMARY KEY (tenant, timeline, id),
    CHECK ((state = 'gone') = (gone_at IS NOT NULL))
);
CREATE INDEX discrepancies_open ON discrepancies (severity, kind) WHERE state = 'open';

-- Where an open discrepancy is still believed to be: one row per official
-- snapshot that showed it when it was last verified.
CREATE TABLE sightings (
    tenant   TEXT NOT NULL,
    timeline TEXT NOT NULL,
    id       TEXT NOT NULL,
    official TEXT NOT NULL,
    seen_at  TEXT NOT NULL,
    PRIMARY KEY (tenant, timeline, id, official),
    FOREIGN KEY (tenant, timeline, id) REFERENCES discrepancies (tenant, timeline, id)
);
CREATE INDEX sightings_by_snapshot ON sightings (tenant, timeline, official);

CREATE TABLE timelines (
    tenant            TEXT NOT NULL,
    timeline          TEXT NOT NULL,
    source            TEXT NOT NULL,
    shadow            INTEGER NOT NULL DEFAULT 0,
    first_seen        TEXT NOT NULL,
    last_seen         TEXT NOT NULL,
    last_picked_at    TEXT,
    picks_in_vain     INTEGER NOT NULL DEFAULT 0, -- picked since it was last verified whole
    last_verified_at  TEXT,                       -- when the last of its spans was verified, each at its latest
    last_verified_lsn TEXT,
    scan              TEXT,                       -- JSON, the newest scan
    scanned_at        TEXT,
    tli          INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.tli')) VIRTUAL,
    "from"       TEXT GENERATED ALWAYS AS (json_extract(scan, '$.from')) VIRTUAL,
    "to"         TEXT GENERATED ALWAYS AS (json_extract(scan, '$.to')) VIRTUAL,
    segment_size INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.segment_size')) VIRTUAL,
    expected     INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.expected')) VIRTUAL,
    present      INTEGER GENERATED ALWAYS AS (json_extract(scan, '$.present')) VIRTUAL,
    gaps         TEXT GENERATED ALWAYS AS (json_extract(scan, '$.gaps')) VIRTUAL,
    damaged      TEXT GENERATED ALWAYS AS (json_extract(scan, '$.damaged')) VIRTUAL,
    unexpected   TEXT GENERATED ALWAYS AS (json_extract(scan, '$.unexpected')) VIRTUAL,
    reasons      TEXT GENERATED ALWAYS AS (json_extract(scan, '$.reasons')) VIRTUAL,
    PRIMARY KEY (tenant, timeline)
);

-- Segments that a deep scan has read, so that they are not read again.
CREATE TABLE segments (
    tenant   TEXT NOT NULL,
    timeline TEXT NOT NULL,
    segment  TEXT NOT NULL,                 -- the object's name
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    mod_time TEXT NOT NULL,
    read_at  TEXT NOT NULL,
    state    BLOB NOT NULL,                 -- the scanner's own
    PRIMARY KEY (tenant, timeline, segment)
) WITHOUT ROWID;

CREATE TABLE jobs (
    job             TEXT PRIMARY KEY,
    missed_runs     INTEGER NOT NULL DEFAULT 0,
    accounted_until TEXT NOT NULL           -- every tick of the schedule up to here was run or counted as missed
);
