-- The same statements run on SQLite and on PostgreSQL. Instants are microseconds since 1970 UTC, hashes are SHA-256 in
-- lower-case hex, and '' stands for a field that was left out. BYTEA holds bytes on both: SQLite keeps a value of any
-- declared type as it was given.

-- +goose Up

-- The catalog, as purchased and as written: the fields of the catalog files, as text, under the same names. An ordering
-- system may write these tables too; nothing here is ever deleted by drawdown.

-- Who uses, and who pays (R2.1).
CREATE TABLE accounts (
	id        TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
	name      TEXT NOT NULL DEFAULT '',
	payer     TEXT NOT NULL DEFAULT '', -- default: the account itself
	time_zone TEXT NOT NULL DEFAULT '',
	currency  TEXT NOT NULL DEFAULT '',
	email     TEXT NOT NULL DEFAULT '',
	phone     TEXT NOT NULL DEFAULT '',
	locale    TEXT NOT NULL DEFAULT '',
	balance   TEXT NOT NULL DEFAULT ''  -- prepaid cash; '': not tracked
);

-- What is measured (R2.2).
CREATE TABLE meters (
	id          TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
	unit        TEXT NOT NULL DEFAULT '',
	scale       TEXT NOT NULL DEFAULT '',
	max         TEXT NOT NULL DEFAULT '',
	description TEXT NOT NULL DEFAULT ''
);

-- What excess costs (R2.3).
CREATE TABLE prices (
	id       TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
	meter    TEXT NOT NULL REFERENCES meters (id),
	account  TEXT NOT NULL DEFAULT '', -- '': for everybody
	"from"   TEXT NOT NULL DEFAULT '',
	"to"     TEXT NOT NULL DEFAULT '',
	currency TEXT NOT NULL DEFAULT '',
	model    TEXT NOT NULL DEFAULT '',
	counts   TEXT NOT NULL DEFAULT '',
	price    TEXT NOT NULL DEFAULT '',
	per      TEXT NOT NULL DEFAULT '',
	size     TEXT NOT NULL DEFAULT '',
	tiers    TEXT NOT NULL DEFAULT ''  -- JSON: [{"up_to": "…", "price": "…", "per": "…"}, …]
);

-- Prepaid quotas (R2.4).
CREATE TABLE packages (
	id             TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
	account        TEXT NOT NULL REFERENCES accounts (id),
	product        TEXT NOT NULL DEFAULT '',
	name           TEXT NOT NULL DEFAULT '',
	kind           TEXT NOT NULL DEFAULT '',
	quota          TEXT NOT NULL DEFAULT '',
	unit           TEXT NOT NULL DEFAULT '',
	scale          TEXT NOT NULL DEFAULT '',
	effective      TEXT NOT NULL DEFAULT '',
	expires        TEXT NOT NULL DEFAULT '',
	created        TEXT NOT NULL DEFAULT '',
	priority       TEXT NOT NULL DEFAULT '',
	source         TEXT NOT NULL DEFAULT '',
	shared         TEXT NOT NULL DEFAULT '',
	reset          TEXT NOT NULL DEFAULT '',
	rollover_max   TEXT NOT NULL DEFAULT '',
	grace_days     TEXT NOT NULL DEFAULT '',
	retention_days TEXT NOT NULL DEFAULT '',
	price_paid     TEXT NOT NULL DEFAULT '',
	currency       TEXT NOT NULL DEFAULT '',
	covers         TEXT NOT NULL DEFAULT '' -- JSON: [{"meter": "…", "rate": "…", "hours": "…", "where": {"…": ["…"]}}, …]
);

-- What happened to packages after their purchase (R2.5).
CREATE TABLE package_changes (
	package TEXT NOT NULL REFERENCES packages (id),
	at      TEXT NOT NULL CHECK (at <> ''),
	change  TEXT NOT NULL CHECK (change IN ('renewed', 'extended', 'resized', 'revoked')),
	value   TEXT NOT NULL CHECK (value <> ''), -- the new expires, the new expires, the new quota, 'true'
	PRIMARY KEY (package, at, change)
);

-- When to tell an owner that a package runs low (R2.6).
CREATE TABLE alert_rules (
	id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
	account    TEXT NOT NULL DEFAULT '',
	package    TEXT NOT NULL DEFAULT '',
	type       TEXT NOT NULL DEFAULT '',
	thresholds TEXT NOT NULL DEFAULT '', -- JSON: ["20", "0"]
	channels   TEXT NOT NULL DEFAULT ''  -- JSON: ["email", "sms"]
);

-- Cash paid in (R2.7).
CREATE TABLE topups (
	account TEXT NOT NULL REFERENCES accounts (id),
	at      TEXT NOT NULL CHECK (at <> ''),
	amount  TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (account, at)
);

-- Who may commit: one row, for the site that owns this database. The token grows by one whenever the lease changes
-- hands; a commit under an older token is refused. owner is '' while nobody holds it.
CREATE TABLE lease (
	site         TEXT   NOT NULL PRIMARY KEY,
	token        BIGINT NOT NULL,
	owner        TEXT   NOT NULL,
	host         TEXT   NOT NULL,
	pid          BIGINT NOT NULL,
	acquired_at  BIGINT NOT NULL,
	heartbeat_at BIGINT NOT NULL
);

-- Who ran what, when, why, and how long. Work that a run had done before it failed is not in any other table.
CREATE TABLE run (
	id          BIGINT NOT NULL PRIMARY KEY,
	site        TEXT   NOT NULL,
	command     TEXT   NOT NULL,
	token       BIGINT NOT NULL, -- 0: it took no lease
	started_at  BIGINT NOT NULL,
	finished_at BIGINT NOT NULL DEFAULT 0, -- 0: not yet
	actor       TEXT   NOT NULL,
	host        TEXT   NOT NULL,
	pid         BIGINT NOT NULL,
	version     TEXT   NOT NULL,
	reason      TEXT   NOT NULL DEFAULT '',
	state       TEXT   NOT NULL CHECK (state IN ('running', 'committed', 'failed', 'nothing_to_do')),
	error       TEXT   NOT NULL DEFAULT '',
	periods     BIGINT NOT NULL DEFAULT 0,
	records     BIGINT NOT NULL DEFAULT 0,
	summary     TEXT   NOT NULL DEFAULT '' -- JSON
);

-- A period that was settled (R5.1); a pending one has no row. A closed period is never rewritten (R5.5).
CREATE TABLE period (
	period_start BIGINT NOT NULL PRIMARY KEY,
	period_end   BIGINT NOT NULL CHECK (period_end > period_start),
	period_name  TEXT   NOT NULL UNIQUE,
	state        TEXT   NOT NULL CHECK (state IN ('settled', 'closed')),
	closed_at    BIGINT NOT NULL DEFAULT 0
);

-- What a run made of a period. The counts are those of the manifest; shard_state and outbox must add up to them.
CREATE TABLE revision (
	period_start             BIGINT  NOT NULL REFERENCES period (period_start),
	revision                 INTEGER NOT NULL CHECK (revision > 0),
	token                    BIGINT  NOT NULL,
	run_id                   BIGINT  NOT NULL REFERENCES run (id),
	manifest_key             TEXT    NOT NULL,
	manifest_sha256          TEXT    NOT NULL,
	previous_manifest_sha256 TEXT    NOT NULL, -- '': the first period
	config_sha256            TEXT    NOT NULL,
	catalog_sha256           TEXT    NOT NULL,
	opening_sha256           TEXT    NOT NULL,
	closing_sha256           TEXT    NOT NULL,
	shards                   BIGINT  NOT NULL,
	payers                   BIGINT  NOT NULL,
	packages                 BIGINT  NOT NULL,
	notices                  BIGINT  NOT NULL,
	totals                   TEXT    NOT NULL, -- JSON
	is_current               INTEGER NOT NULL CHECK (is_current IN (0, 1)),
	PRIMARY KEY (period_start, revision)
);
CREATE UNIQUE INDEX revision_current ON revision (period_start) WHERE is_current = 1;

-- What the payers of a shard were left with, in the format of the package comment: immutable, under the hash of what it
-- says, so that a shard in which nothing changed is stored once. A row that no shard_state names is of a run that failed.
CREATE TABLE state (
	sha256   TEXT   NOT NULL PRIMARY KEY,
	token    BIGINT NOT NULL,
	payers   BIGINT NOT NULL,
	packages BIGINT NOT NULL,
	content  BYTEA  NOT NULL
);

-- The closing state of each shard of a revision: the opening state of the next period (R5.3).
CREATE TABLE shard_state (
	period_start BIGINT  NOT NULL,
	revision     INTEGER NOT NULL,
	shard        INTEGER NOT NULL CHECK (shard >= 0),
	sha256       TEXT    NOT NULL REFERENCES state (sha256),
	PRIMARY KEY (period_start, revision, shard),
	FOREIGN KEY (period_start, revision) REFERENCES revision (period_start, revision)
);
CREATE INDEX shard_state_sha256 ON shard_state (sha256);

-- Usage objects that were read: one that cannot hold a period's records is not read again while its version is the same.
CREATE TABLE object (
	key               TEXT   NOT NULL PRIMARY KEY,
	size              BIGINT NOT NULL,
	version           TEXT   NOT NULL, -- changes whenever the content may have changed
	sha256            TEXT   NOT NULL,
	records           BIGINT NOT NULL,
	first_time        BIGINT NOT NULL, -- first_time > last_time: no row has a time
	last_time         BIGINT NOT NULL,
	home_period_start BIGINT NOT NULL  -- where its rows stand that belong to no period (R4.4)
);

-- What people are to be told (R6.4). period_start and revision are those of the settlement that found it last (revision
-- 0: found ahead of it); what the newest revision of a period no longer finds is withdrawn, and withdrawn_run says by
-- which run, also where it was sent already.
CREATE TABLE outbox (
	dedup_key       TEXT    NOT NULL PRIMARY KEY,
	kind            TEXT    NOT NULL,
	account         TEXT    NOT NULL,
	package         TEXT    NOT NULL,
	meter           TEXT    NOT NULL,
	cycle_start     BIGINT  NOT NULL,
	threshold_type  TEXT    NOT NULL,
	threshold       TEXT    NOT NULL,
	remaining       TEXT    NOT NULL,
	record_id       TEXT    NOT NULL,
	at              BIGINT  NOT NULL,
	period_start    BIGINT  NOT NULL,
	revision        INTEGER NOT NULL,
	created_run     BIGINT  NOT NULL REFERENCES run (id),
	withdrawn_run   BIGINT  NOT NULL DEFAULT 0,
	state           TEXT    NOT NULL CHECK (state IN ('pending', 'withdrawn', 'sending', 'sent', 'dead')),
	attempts        INTEGER NOT NULL DEFAULT 0,
	next_attempt_at BIGINT  NOT NULL DEFAULT 0,
	last_error      TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX outbox_period ON outbox (period_start);
