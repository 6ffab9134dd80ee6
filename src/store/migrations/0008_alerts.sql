-- What somebody should look at, each once: coming up anew, it takes its own row again.
CREATE TABLE alerts (
    kind            TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    severity        TEXT    NOT NULL,
    message         TEXT    NOT NULL,
    since           INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    told_at         INTEGER,
    recovered_at    INTEGER,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    reason          TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (kind, subject)
) STRICT;
