-- How the chunks of a kept catalog lie, so that a shard of it can be read alone: '' where they lie by table and key. The
-- form is in the package comment of writers/store. As in 00001, the same statements run on SQLite and on PostgreSQL.

-- +goose Up
ALTER TABLE catalog ADD COLUMN layout TEXT NOT NULL DEFAULT '';
