-- Results lie in the order of the input, so that those that come together lie together: a key that is
-- a hash would touch a page of its own for each.
ALTER TABLE jobs ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET number = rowid;
CREATE UNIQUE INDEX jobs_by_number ON jobs (number);

-- Where each item's first equal one stands: a JSON array of numbers; NULL if each is its own.
ALTER TABLE chunks ADD COLUMN firsts TEXT;

CREATE TABLE first_places (
    job      TEXT    NOT NULL,
    item_key BLOB    NOT NULL,
    first    INTEGER NOT NULL,
    PRIMARY KEY (job, item_key)
) STRICT, WITHOUT ROWID;
INSERT INTO first_places (job, item_key, first)
    WITH RECURSIVE offsets (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM offsets WHERE n < 1023)
    SELECT job, substr(item_keys, 16 * n + 1, 16), min(first_item + n)
    FROM chunks CROSS JOIN offsets WHERE n < item_count GROUP BY 1, 2;
UPDATE chunks SET firsts = (
    WITH RECURSIVE offsets (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM offsets WHERE n < chunks.item_count - 1)
    SELECT json_group_array(first ORDER BY n) FROM offsets JOIN first_places
    ON first_places.job = chunks.job AND first_places.item_key = substr(chunks.item_keys, 16 * n + 1, 16)
) WHERE job IN (SELECT id FROM jobs WHERE distinct_items < items);

ALTER TABLE results RENAME TO old_results;

-- Results of items of the input.
CREATE TABLE results (
    place    INTEGER NOT NULL PRIMARY KEY, -- 2^32 times the job's number, and its first item's
    item_key BLOB    NOT NULL,
    state    TEXT    NOT NULL, -- done or dead
    said     TEXT    NOT NULL, -- the answer; or why there is none
    cost     INTEGER NOT NULL,
    detail   TEXT    NOT NULL, -- JSON
    at       INTEGER NOT NULL
) STRICT;

-- Results without a place: of steps of a reduce, and of items that have left the input.
CREATE TABLE loose_results (
    job      INTEGER NOT NULL, -- its number
    part     TEXT    NOT NULL, -- reduce or left
    item_key BLOB    NOT NULL,
    state    TEXT    NOT NULL,
    said     TEXT    NOT NULL,
    cost     INTEGER NOT NULL,
    detail   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (job, part, item_key)
) STRICT;

CREATE TABLE told_results AS
    SELECT jobs.number AS number, old.part AS part, old.item_key AS item_key, first_places.first AS first,
        old.state AS state, coalesce(answer, old.reason, '') AS said, old.cost AS cost,
        json_object(
            'model', model, 'provider', provider,
            'tokens', json_array(old.input_tokens, old.cached_tokens, old.cache_write_tokens, old.output_tokens),
            'calls', old.calls, 'redactions', old.redactions, 'packed', packed, 'ms', ms, 'tries', json(tries)
        ) AS detail, old.at AS at
    FROM old_results AS old JOIN jobs ON jobs.id = old.job
    LEFT JOIN first_places ON old.part = 'item'
        AND first_places.job = old.job AND first_places.item_key = old.item_key;
INSERT INTO results SELECT number << 32 | first, item_key, state, said, cost, detail, at
    FROM told_results WHERE first IS NOT NULL ORDER BY 1;
INSERT INTO loose_results
    SELECT number, CASE part WHEN 'reduce' THEN 'reduce' ELSE 'left' END, item_key, state, said, cost, detail, at
    FROM told_results WHERE first IS NULL;
DROP TABLE told_results;
DROP TABLE old_results;
DROP TABLE first_places;

-- Kept answers in the order they came; found by the start of their key, which the newest get later,
-- many at once: what is not in `kept_keys` yet is known to whoever wrote it.
DROP INDEX kept_by_age;
ALTER TABLE kept RENAME TO old_kept;
CREATE TABLE kept (
    id       INTEGER NOT NULL PRIMARY KEY, -- bytes kept up to it, ever
    call_key BLOB    NOT NULL, -- 32 bytes
    level    INTEGER NOT NULL,
    answer   TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE TABLE kept_keys (
    start BLOB    NOT NULL, -- 8 bytes
    id    INTEGER NOT NULL,
    PRIMARY KEY (start, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE kept_state (
    only     INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    keyed_to INTEGER NOT NULL -- the last row that is in `kept_keys`
) STRICT;
CREATE INDEX kept_private ON kept (level) WHERE level = 3;
INSERT INTO kept (id, call_key, level, answer, at)
    SELECT sum(bytes) OVER (ORDER BY at, call_key, level), call_key, level, answer, at FROM old_kept ORDER BY 1;
INSERT INTO kept_keys (start, id) SELECT substr(call_key, 1, 8), id FROM kept ORDER BY 1, 2;
INSERT INTO kept_state (only, keyed_to) SELECT 1, coalesce(max(id), 0) FROM kept;
DROP TABLE old_kept;
