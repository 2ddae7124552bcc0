-- What the outbox cannot say in one row. Both databases have the same table; only PostgreSQL keeps comments.

-- A notice that the current revisions of several periods have found: an edit of the catalog has moved its due time, and not
-- all of them were settled again. The outbox holds it once, for one of them; what the others found stands here. Where the
-- one no longer finds it, one of these takes its place.
CREATE TABLE outbox_elsewhere (
	dedup_key    TEXT    NOT NULL REFERENCES outbox (dedup_key),
	period_start BIGINT  NOT NULL,
	revision     INTEGER NOT NULL,
	meter        TEXT    NOT NULL,
	remaining    TEXT    NOT NULL,
	record_id    TEXT    NOT NULL,
	at           BIGINT  NOT NULL,
	PRIMARY KEY (dedup_key, period_start),
	FOREIGN KEY (period_start, revision) REFERENCES revision (period_start, revision)
);
