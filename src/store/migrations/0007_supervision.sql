-- What supervisors decided and what people told them, newest last.
CREATE TABLE supervision (
    id    INTEGER NOT NULL PRIMARY KEY,
    at    INTEGER NOT NULL,
    path  TEXT    NOT NULL,
    entry TEXT    NOT NULL -- JSON
) STRICT;

-- What people said of policies while they were in force.
CREATE TABLE policy_overrides (
    path    TEXT    NOT NULL PRIMARY KEY,
    said    TEXT, -- JSON; NULL: taken back
    version INTEGER NOT NULL
) STRICT;
