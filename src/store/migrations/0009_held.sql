-- Whether the daemon holds the job: it goes on with it after a restart.
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
