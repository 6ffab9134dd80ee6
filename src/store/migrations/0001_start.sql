-- Money is in micro-dollars, times are milliseconds since 1970 (UTC), job ids are UUID v7 as text.

-- What wrote this data folder.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    simulated    INTEGER NOT NULL,
    spec         TEXT    NOT NULL,
    spec_path    TEXT,
    fingerprint  TEXT    NOT NULL,
    out_dir      TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT    NOT NULL DEFAULT '',
    desired      TEXT    NOT NULL DEFAULT 'run',
    budget       INTEGER,
    deadline     INTEGER,
    -- Counters, moved in the transaction of what they count.
    items        INTEGER NOT NULL DEFAULT 0,
    distinct_items INTEGER NOT NULL DEFAULT 0,
    done         INTEGER NOT NULL DEFAULT 0,
    dead         INTEGER NOT NULL DEFAULT 0,
    cancelled    INTEGER NOT NULL DEFAULT 0,
    calls        INTEGER NOT NULL DEFAULT 0,
    input_tokens       INTEGER NOT NULL DEFAULT 0,
    cached_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens      INTEGER NOT NULL DEFAULT 0,
    cost         INTEGER NOT NULL DEFAULT 0,
    redactions   INTEGER NOT NULL DEFAULT 0,
    retries      INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_name ON jobs (name);

-- The input, a cohort's share in each row.
CREATE TABLE chunks (
    job        TEXT    NOT NULL REFERENCES jobs (id),
    cohort     INTEGER NOT NULL,
    first_item INTEGER NOT NULL,
    item_count INTEGER NOT NULL,
    item_keys  BLOB    NOT NULL, -- 16 bytes an item
    levels     BLOB    NOT NULL, -- a byte an item; 255: none of its own
    item_rows  TEXT    NOT NULL, -- a line of JSON an item
    PRIMARY KEY (job, cohort)
) STRICT;

CREATE TABLE results (
    job        TEXT    NOT NULL REFERENCES jobs (id),
    part       TEXT    NOT NULL,
    item_key   BLOB    NOT NULL,
    item       INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    answer     TEXT,
    reason     TEXT,
    model      TEXT,
    provider   TEXT,
    input_tokens       INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cost       INTEGER NOT NULL,
    calls      INTEGER NOT NULL,
    redactions INTEGER NOT NULL,
    packed     INTEGER NOT NULL,
    ms         INTEGER NOT NULL,
    tries      TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    stale      INTEGER NOT NULL DEFAULT 0, -- 1: its item is no longer in the input
    PRIMARY KEY (job, part, item_key)
) STRICT;

-- Open reservations. Money rows refer to no table: they outlive everything.
CREATE TABLE holds (
    id       INTEGER NOT NULL PRIMARY KEY,
    job      TEXT    NOT NULL,
    item     INTEGER NOT NULL,
    provider TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    reserved INTEGER NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- The first id that no reservation has had.
CREATE TABLE next_hold (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    id   INTEGER NOT NULL
) STRICT;
INSERT INTO next_hold (only, id) VALUES (1, 0);

-- Settled calls.
CREATE TABLE ledger (
    hold       INTEGER NOT NULL PRIMARY KEY,
    job        TEXT    NOT NULL,
    item       INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    reserved   INTEGER NOT NULL,
    billed     INTEGER NOT NULL,
    certainty  TEXT    NOT NULL,
    input_tokens       INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    sent_at    INTEGER NOT NULL,
    settled_at INTEGER NOT NULL
) STRICT;
CREATE INDEX ledger_by_job ON ledger (job, provider);
CREATE INDEX ledger_by_time ON ledger (provider, sent_at);

-- When free calls were sent; `job` is '' where the ledger is everybody's.
CREATE TABLE sends (
    provider TEXT    NOT NULL,
    job      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    calls    INTEGER NOT NULL,
    PRIMARY KEY (provider, job, at)
) STRICT;
