-- An account's inbox is part of the outbox: what stood in both was two rows, and six entries of indexes, for each notice of
-- a settlement. As in 00001, the same statements run on SQLite and on PostgreSQL.

-- +goose Up

-- When the notice was read in the account's inbox: 0, not yet; NULL, it is not in it.
ALTER TABLE outbox ADD COLUMN inbox_read_at BIGINT;
UPDATE outbox SET inbox_read_at = (SELECT inbox.read_at FROM inbox WHERE inbox.dedup_key = outbox.dedup_key);
CREATE INDEX outbox_inbox ON outbox (account, at) WHERE inbox_read_at IS NOT NULL;
DROP TABLE inbox;
