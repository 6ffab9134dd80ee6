-- What the privacy gate decided, without the content. Rows refer to no table: they outlive jobs. No
-- index: a row is written with every call to a cloud, and looked for when a person asks.
CREATE TABLE decisions (
    id       INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    job      TEXT    NOT NULL,
    item     INTEGER NOT NULL,
    provider TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    zone     INTEGER NOT NULL, -- 1 to 4
    declared INTEGER NOT NULL, -- level, 0 to 3
    level    INTEGER NOT NULL,
    act      TEXT    NOT NULL, -- JSON: allow, redact or deny
    found    TEXT    NOT NULL, -- JSON: how often each rule found something
    content  BLOB    NOT NULL  -- 32 bytes: the keyed hash of what was asked
) STRICT;

-- What contents are hashed with.
INSERT INTO meta (name, value) VALUES ('salt', lower(hex(randomblob(32))));
