-- The standing agent that paid, the allowance in the job that it was taken from, and when the
-- reservation was made: that is the day and the month that the money counts for.
ALTER TABLE holds ADD COLUMN role TEXT;
ALTER TABLE holds ADD COLUMN child TEXT;
ALTER TABLE ledger ADD COLUMN role TEXT;
ALTER TABLE ledger ADD COLUMN child TEXT;
ALTER TABLE ledger ADD COLUMN reserved_at INTEGER NOT NULL DEFAULT 0;
UPDATE ledger SET reserved_at = sent_at;
CREATE INDEX ledger_by_end ON ledger (settled_at);

-- Caps that were set by hand; they override the configuration.
CREATE TABLE caps (
    scope  TEXT    NOT NULL PRIMARY KEY,
    amount INTEGER, -- NULL: no cap
    set_at INTEGER NOT NULL,
    reason TEXT    NOT NULL
) STRICT;

-- What was done to the money by hand, and why. Nothing is ever taken out of it.
CREATE TABLE budget_audit (
    id     INTEGER NOT NULL PRIMARY KEY,
    at     INTEGER NOT NULL,
    what   TEXT    NOT NULL,
    scope  TEXT    NOT NULL,
    detail TEXT    NOT NULL,
    reason TEXT    NOT NULL
) STRICT;

-- What a vendor said was left in the account, at a moment when no call was under way.
CREATE TABLE baselines (
    provider TEXT    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    balance  INTEGER NOT NULL,
    last_hold INTEGER NOT NULL -- every reservation before this one had ended
) STRICT;

CREATE TABLE approvals (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    asked_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    answered_at INTEGER,
    answered_by TEXT,
    reason      TEXT    NOT NULL DEFAULT '',
    used_by     TEXT -- the job that it let start
) STRICT;
CREATE INDEX approvals_by_fingerprint ON approvals (fingerprint);
