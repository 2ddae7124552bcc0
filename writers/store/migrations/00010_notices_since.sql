-- Which notices a revision has found without writing each of them again. As in 00001, the same statements run on SQLite and
-- on PostgreSQL.

-- +goose Up

-- The oldest revision whose rows of the outbox, and of outbox_elsewhere, still say what this one has found: a backfill that
-- finds most of them again as they stand leaves them alone.
ALTER TABLE revision ADD COLUMN notices_since INTEGER NOT NULL DEFAULT 0;
UPDATE revision SET notices_since = revision;

-- What a revision has found is counted when it is committed, and again when the next one is made: without looking at the rows.
DROP INDEX outbox_period;
CREATE INDEX outbox_period ON outbox (period_start, revision, withdrawn_run, kind);
