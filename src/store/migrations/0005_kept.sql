-- Answers to calls, kept for the same calls of any job. Losing one loses nothing but money.
CREATE TABLE kept (
    call_key BLOB    NOT NULL, -- 32 bytes
    level    INTEGER NOT NULL,
    answer   TEXT    NOT NULL,
    bytes    INTEGER NOT NULL, -- of the row, roughly
    at       INTEGER NOT NULL,
    PRIMARY KEY (call_key, level)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_by_age ON kept (at);
