-- How people are told what the outbox holds. As in 00001, the same statements run on SQLite and on PostgreSQL.

-- +goose Up

-- What is sent, or was: one notice, or several of one account as a digest, on one channel. Its id is made of the notices'
-- keys and never changes, so that a message that is sent twice can be known by it (Message-ID, webhook-id).
--
-- pending and sending are due at next_attempt_at: of a pending one that is the next attempt; of a sending one the instant
-- until which its worker has it alone. claim counts up whenever a worker takes it, and a worker that comes late with an
-- older claim is not heard. unknown: it may have been accepted, and its channel would not notice a repeat. suppressed:
-- there was nowhere to send it. expired: it was past its use. dead: given up. The last four say why in last_error.
CREATE TABLE message (
	id              TEXT    NOT NULL PRIMARY KEY CHECK (id <> ''),
	channel         TEXT    NOT NULL CHECK (channel IN ('email', 'sms', 'webhook')),
	account         TEXT    NOT NULL,
	state           TEXT    NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'unknown', 'suppressed', 'expired', 'dead')),
	created_at      BIGINT  NOT NULL,
	next_attempt_at BIGINT  NOT NULL,
	claim           BIGINT  NOT NULL DEFAULT 0,
	attempts        INTEGER NOT NULL DEFAULT 0,
	sent_at         BIGINT  NOT NULL DEFAULT 0,
	recipient       TEXT    NOT NULL DEFAULT '', -- a hash of the address it was sent to: for limits, not for reading
	reference       TEXT    NOT NULL DEFAULT '', -- what the other side calls it
	report          TEXT    NOT NULL DEFAULT '', -- what a delivery report said last
	last_error      TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX message_due ON message (channel, next_attempt_at, id) WHERE state IN ('pending', 'sending');
CREATE INDEX message_sent ON message (recipient, sent_at) WHERE sent_at > 0;
CREATE INDEX message_waits ON message (state) WHERE state IN ('dead', 'unknown', 'suppressed');

-- Which notices a message tells of. On a channel a notice is told once.
CREATE TABLE message_notice (
	dedup_key TEXT NOT NULL REFERENCES outbox (dedup_key),
	channel   TEXT NOT NULL,
	message   TEXT NOT NULL REFERENCES message (id),
	PRIMARY KEY (dedup_key, channel)
);
CREATE INDEX message_notice_message ON message_notice (message);

-- What an account finds in its inbox: written in the transaction of the settlement, once for each notice. The words are
-- made when it is looked at.
CREATE TABLE inbox (
	dedup_key TEXT   NOT NULL PRIMARY KEY REFERENCES outbox (dedup_key),
	account   TEXT   NOT NULL,
	at        BIGINT NOT NULL,
	read_at   BIGINT NOT NULL DEFAULT 0 -- 0: not yet
);
CREATE INDEX inbox_account ON inbox (account, at);

-- The outbox by account, since digests are made of what one account has at once. Each index costs every settlement, so that
-- the order in which people see it has none.
CREATE INDEX outbox_pending ON outbox (account, at) WHERE state = 'pending';
