-- What the rate gate remembers beside the ledger: by model, and with the tokens that count.
CREATE TABLE new_sends (
    provider TEXT    NOT NULL,
    model    TEXT    NOT NULL, -- '' where it was not kept
    job      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    calls    INTEGER NOT NULL, -- of free calls; the others are in the ledger
    tokens   INTEGER NOT NULL,
    owed     INTEGER NOT NULL, -- tokens that the vendor claims beyond those
    PRIMARY KEY (provider, model, job, at)
) STRICT;
INSERT INTO new_sends (provider, model, job, at, calls, tokens, owed)
    SELECT provider, '', job, at, calls, 0, 0 FROM sends;
DROP TABLE sends;
ALTER TABLE new_sends RENAME TO sends;
