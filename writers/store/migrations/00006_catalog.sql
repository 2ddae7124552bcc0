-- The catalog as runs used it, so that what was settled can be explained and settled again after prices and packages have
-- changed. As in 00001, the same statements run on SQLite and on PostgreSQL.

-- +goose Up

-- A catalog that a revision was settled with, under the hash that its manifest names: the hashes of its chunks in their
-- order, 32 bytes each. The form of both is in the package comment of writers/store. Written in the transaction of the
-- first settlement that used it, so that each is named by a revision, and none is ever deleted.
CREATE TABLE catalog (
	sha256 TEXT   NOT NULL PRIMARY KEY,
	token  BIGINT NOT NULL, -- of the run that used it first
	chunks BYTEA  NOT NULL
);

-- A run of rows of a catalog, under the hash of what it says: catalogs that differ in a few rows share most of them.
CREATE TABLE catalog_chunk (
	sha256  TEXT  NOT NULL PRIMARY KEY,
	content BYTEA NOT NULL
);
