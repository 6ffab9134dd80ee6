-- 1: the reservation's call may have been sent.
ALTER TABLE holds ADD COLUMN has_left INTEGER NOT NULL DEFAULT 0;
-- The last fact of the spool that is in this database.
ALTER TABLE next_hold ADD COLUMN spooled INTEGER NOT NULL DEFAULT 0;
