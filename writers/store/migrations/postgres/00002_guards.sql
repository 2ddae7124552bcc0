-- What PostgreSQL refuses to be written into the catalog, whoever writes it: an ordering system meets these checks where
-- it makes a mistake, and not at the next settle. They let pass all that rating.Compile takes; what takes several rows to
-- see (R2.8), Compile finds.

-- One site owns the database, also where two take the lease of an empty one at once.
CREATE UNIQUE INDEX lease_of_one_site ON lease ((TRUE));
CREATE INDEX run_state ON run (state);

-- The functions are plain SQL, so that a check is evaluated as if it were written out, and compare bytes (COLLATE "C"): a
-- million packages are checked in some seconds.

CREATE FUNCTION drawdown_is_decimal(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT value COLLATE "C" ~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$' $$;
COMMENT ON FUNCTION drawdown_is_decimal(TEXT) IS 'a decimal as text, such as 12.50';

CREATE FUNCTION drawdown_is_quantity(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN value COLLATE "C" ~ '^[0-9]{1,18}$' THEN TRUE
		WHEN drawdown_is_decimal(value) THEN CAST(value AS NUMERIC) BETWEEN 0 AND 9223372036854775807 ELSE FALSE END $$;
COMMENT ON FUNCTION drawdown_is_quantity(TEXT) IS 'a decimal of 0 or more that fits 64 bits';

CREATE FUNCTION drawdown_is_whole(value TEXT, low BIGINT, high BIGINT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN value COLLATE "C" ~ '^[0-9]{1,9}$' THEN CAST(value AS BIGINT) BETWEEN low AND high
		WHEN drawdown_is_decimal(value) THEN CAST(value AS NUMERIC) BETWEEN low AND high
			AND CAST(value AS NUMERIC) = trunc(CAST(value AS NUMERIC)) ELSE FALSE END $$;
COMMENT ON FUNCTION drawdown_is_whole(TEXT, BIGINT, BIGINT) IS 'a whole number from low to high';

CREATE FUNCTION drawdown_is_moment(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE
		WHEN value COLLATE "C" !~ ('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])'
			'([Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$') THEN FALSE
		WHEN substr(value, 9, 2) COLLATE "C" < '29' THEN TRUE
		WHEN substr(value, 6, 2) = '02' THEN substr(value, 9, 2) = '29' AND CAST(left(value, 4) AS INTEGER) % 4 = 0
			AND (CAST(left(value, 4) AS INTEGER) % 100 <> 0 OR CAST(left(value, 4) AS INTEGER) % 400 = 0)
		WHEN substr(value, 6, 2) IN ('04', '06', '09', '11') THEN substr(value, 9, 2) <> '31'
		ELSE TRUE END $$;
COMMENT ON FUNCTION drawdown_is_moment(TEXT) IS
	'a date, or a date and time with an offset, such as 2026-10-01T08:30:00Z';

CREATE FUNCTION drawdown_is_label(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT value COLLATE "C" !~ '[\u0001-\u001f\u007f-\u009f]' $$;
COMMENT ON FUNCTION drawdown_is_label(TEXT) IS 'a text on one line, without control characters';

CREATE FUNCTION drawdown_is_id(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT value COLLATE "C" !~ '^$|[\u0001-\u001f\u007f-\u009f]|^ | $' $$;
COMMENT ON FUNCTION drawdown_is_id(TEXT) IS 'a text that is not empty, without control characters, and without spaces at its ends';

ALTER TABLE accounts
	ADD CONSTRAINT accounts_id_is_no_id CHECK (drawdown_is_id(id)),
	ADD CONSTRAINT accounts_name_has_control_characters CHECK (drawdown_is_label(name)),
	ADD CONSTRAINT accounts_locale_has_control_characters CHECK (drawdown_is_label(locale)),
	ADD CONSTRAINT accounts_currency_is_no_code CHECK (currency ~ '^([A-Z]{3})?$'),
	ADD CONSTRAINT accounts_email_is_no_address CHECK (email = '' OR email ~ '^[^@[:cntrl:] <>,;]+@[^@[:cntrl:] <>,;]+$'),
	ADD CONSTRAINT accounts_phone_is_no_number CHECK (phone ~ '^(\+?[0-9]{3,20})?$'),
	ADD CONSTRAINT accounts_balance_is_no_decimal CHECK (balance = '' OR drawdown_is_decimal(balance)),
	ADD COLUMN payer_account TEXT GENERATED ALWAYS AS (NULLIF(payer, '')) STORED REFERENCES accounts (id);

ALTER TABLE meters
	ADD CONSTRAINT meters_id_is_no_id CHECK (drawdown_is_id(id)),
	ADD CONSTRAINT meters_unit_has_control_characters CHECK (drawdown_is_label(unit || description)),
	ADD CONSTRAINT meters_scale_is_not_0_to_9 CHECK (scale = '' OR drawdown_is_whole(scale, 0, 9)),
	ADD CONSTRAINT meters_max_is_no_quantity CHECK (max = '' OR drawdown_is_quantity(max));

ALTER TABLE prices
	ADD CONSTRAINT prices_id_is_no_id CHECK (drawdown_is_id(id)),
	ADD CONSTRAINT prices_from_is_no_moment CHECK ("from" = '' OR drawdown_is_moment("from")),
	ADD CONSTRAINT prices_to_is_no_moment CHECK ("to" = '' OR drawdown_is_moment("to")),
	ADD CONSTRAINT prices_currency_is_no_code CHECK (currency ~ '^([A-Z]{3})?$'),
	ADD CONSTRAINT prices_model_is_unknown CHECK (model IN ('flat', 'graduated', 'volume', 'block')),
	ADD CONSTRAINT prices_counts_is_unknown CHECK (counts IN ('', 'excess', 'usage')),
	ADD CONSTRAINT prices_price_is_no_decimal CHECK (price = '' OR drawdown_is_quantity(price)),
	ADD CONSTRAINT prices_per_is_no_decimal CHECK (per = '' OR drawdown_is_quantity(per)),
	ADD CONSTRAINT prices_size_is_no_decimal CHECK (size = '' OR drawdown_is_quantity(size)),
	ADD CONSTRAINT prices_tiers_is_no_list
		CHECK (CASE WHEN tiers = '' THEN TRUE ELSE json_typeof(CAST(tiers AS JSON)) = 'array' END),
	ADD COLUMN account_of_its_own TEXT GENERATED ALWAYS AS (NULLIF(account, '')) STORED REFERENCES accounts (id);

ALTER TABLE packages
	ADD CONSTRAINT packages_id_is_no_id CHECK (drawdown_is_id(id)),
	ADD CONSTRAINT packages_name_has_control_characters
		CHECK (drawdown_is_label(product || name || unit)),
	ADD CONSTRAINT packages_kind_is_unknown CHECK (kind IN ('pay_per_use', 'stop_before_excess')),
	ADD CONSTRAINT packages_quota_is_no_quantity CHECK (drawdown_is_quantity(quota)),
	ADD CONSTRAINT packages_scale_is_not_0_to_9 CHECK (scale = '' OR drawdown_is_whole(scale, 0, 9)),
	ADD CONSTRAINT packages_effective_is_no_moment CHECK (drawdown_is_moment(effective)),
	ADD CONSTRAINT packages_expires_is_no_moment CHECK (drawdown_is_moment(expires)),
	ADD CONSTRAINT packages_expires_before_it_is_effective
		CHECK (NOT (length(effective) = 10 AND length(expires) = 10) OR expires COLLATE "C" >= effective COLLATE "C"),
	ADD CONSTRAINT packages_created_is_no_moment CHECK (created = '' OR drawdown_is_moment(created)),
	ADD CONSTRAINT packages_priority_is_no_whole_number
		CHECK (priority = '' OR drawdown_is_whole(priority, -9223372036854775808, 9223372036854775807)),
	ADD CONSTRAINT packages_source_is_unknown CHECK (source IN ('', 'free', 'promotion', 'subscription')),
	ADD CONSTRAINT packages_shared_is_not_true_or_false CHECK (lower(shared) IN ('', 'true', 'false')),
	ADD CONSTRAINT packages_reset_is_unknown
		CHECK (reset IN ('', 'none', 'hour', 'day', 'week', 'month', 'year', 'calendar_month')),
	ADD CONSTRAINT packages_rollover_max_is_no_quantity CHECK (rollover_max = '' OR drawdown_is_quantity(rollover_max)),
	ADD CONSTRAINT packages_grace_days_is_not_0_to_3650 CHECK (grace_days = '' OR drawdown_is_whole(grace_days, 0, 3650)),
	ADD CONSTRAINT packages_retention_days_is_not_0_to_3650
		CHECK (retention_days = '' OR drawdown_is_whole(retention_days, 0, 3650)),
	ADD CONSTRAINT packages_price_paid_is_no_decimal CHECK (price_paid = '' OR drawdown_is_decimal(price_paid)),
	ADD CONSTRAINT packages_currency_is_no_code CHECK (currency ~ '^([A-Z]{3})?$'),
	ADD CONSTRAINT packages_covers_nothing
		CHECK (CASE WHEN left(covers, 1) = '[' THEN json_array_length(CAST(covers AS JSON)) > 0 ELSE FALSE END);

ALTER TABLE package_changes
	ADD CONSTRAINT package_changes_at_is_no_moment CHECK (drawdown_is_moment(at)),
	ADD CONSTRAINT package_changes_value_does_not_fit CHECK (CASE change
		WHEN 'resized' THEN drawdown_is_quantity(value) WHEN 'revoked' THEN lower(value) = 'true' ELSE drawdown_is_moment(value) END);

ALTER TABLE alert_rules
	ADD CONSTRAINT alert_rules_id_is_no_id CHECK (drawdown_is_id(id)),
	ADD CONSTRAINT alert_rules_type_is_unknown CHECK (type IN ('percentage', 'absolute')),
	ADD CONSTRAINT alert_rules_is_for_two CHECK (account = '' OR package = ''),
	ADD CONSTRAINT alert_rules_thresholds_is_no_list
		CHECK (CASE WHEN thresholds = '' THEN FALSE ELSE json_typeof(CAST(thresholds AS JSON)) = 'array' END),
	ADD CONSTRAINT alert_rules_channels_is_no_list
		CHECK (CASE WHEN channels = '' THEN TRUE ELSE json_typeof(CAST(channels AS JSON)) = 'array' END),
	ADD COLUMN account_of_its_own TEXT GENERATED ALWAYS AS (NULLIF(account, '')) STORED REFERENCES accounts (id),
	ADD COLUMN package_of_its_own TEXT GENERATED ALWAYS AS (NULLIF(package, '')) STORED REFERENCES packages (id);

ALTER TABLE topups
	ADD CONSTRAINT topups_at_is_no_moment CHECK (drawdown_is_moment(at)),
	ADD CONSTRAINT topups_amount_is_not_above_0
		CHECK (CASE WHEN drawdown_is_decimal(amount) THEN CAST(amount AS NUMERIC) > 0 ELSE FALSE END);

COMMENT ON TABLE accounts IS 'Who uses, and who pays (R2.1). The catalog is text under the names of the catalog files; an empty text is a field that was left out, and has its default.';
COMMENT ON COLUMN accounts.payer IS 'the account that pays, which pays for itself; default: the account itself';
COMMENT ON COLUMN accounts.payer_account IS 'payer as a reference; the database fills it in';
COMMENT ON COLUMN accounts.time_zone IS 'an IANA name, such as Asia/Shanghai; default: the billing time zone';
COMMENT ON COLUMN accounts.currency IS 'three capital letters; default: that of the configuration';
COMMENT ON COLUMN accounts.balance IS 'prepaid cash when the account is settled first, a decimal; default: it is not tracked';
COMMENT ON TABLE meters IS 'What is measured (R2.2).';
COMMENT ON COLUMN meters.scale IS 'decimals of a quantity, 0 to 9; default 0';
COMMENT ON COLUMN meters.max IS 'a record above it is no usage; default: none';
COMMENT ON TABLE prices IS 'What excess costs (R2.3). Intervals of one meter and account may not overlap.';
COMMENT ON COLUMN prices.account IS 'whose price it is; default: everybody''s';
COMMENT ON COLUMN prices."from" IS 'a date or an instant from which on it holds; default: always';
COMMENT ON COLUMN prices."to" IS 'a date or an instant until which it holds; default: for ever';
COMMENT ON COLUMN prices.model IS 'flat (price, per), graduated or volume (tiers), block (price, size)';
COMMENT ON COLUMN prices.tiers IS 'JSON: [{"up_to": "100", "price": "0.5", "per": "1"}, …], the last one without up_to';
COMMENT ON TABLE packages IS 'Prepaid quotas, as purchased (R2.4). Once it is settled, quota, reset, effective, expires and account may not be edited: enter a row of package_changes.';
COMMENT ON COLUMN packages.kind IS 'pay_per_use or stop_before_excess';
COMMENT ON COLUMN packages.quota IS 'a decimal of 0 or more, with at most scale decimals';
COMMENT ON COLUMN packages.effective IS 'a date (its first instant in the account''s zone) or an instant with an offset';
COMMENT ON COLUMN packages.expires IS 'a date (its end in the account''s zone) or an instant with an offset; after effective';
COMMENT ON COLUMN packages.priority IS 'a whole number, low first; default 0';
COMMENT ON COLUMN packages.reset IS 'none, hour, day, week, month, year or calendar_month; default none';
COMMENT ON COLUMN packages.covers IS 'JSON: [{"meter": "tokens", "rate": "1", "hours": "22:00-06:00", "where": {"model": ["m1", "m2"]}}, …]; only meter is required';
COMMENT ON TABLE package_changes IS 'What happened to packages after their purchase (R2.5). Rows are added; a settled one may not be edited or removed.';
COMMENT ON COLUMN package_changes.value IS 'of renewed and extended the new expires, of resized the new quota, of revoked true';
COMMENT ON TABLE alert_rules IS 'When to tell an owner that a package runs low (R2.6): for a package, an account, or everybody.';
COMMENT ON COLUMN alert_rules.thresholds IS 'JSON: ["20", "0"]';
COMMENT ON COLUMN alert_rules.channels IS 'JSON: ["email", "sms", "inbox", "webhook"]; default: e-mail and SMS';
COMMENT ON TABLE topups IS 'Cash paid in (R2.7), to a payer with a balance; one row for an account and an instant. Rows are added; a settled one may not be edited or removed.';
COMMENT ON COLUMN topups.amount IS 'a decimal above 0';
COMMENT ON TABLE lease IS 'Who may commit: one row. A commit under another token than this one is refused. Only drawdown writes here.';
COMMENT ON TABLE run IS 'Who ran what, when, why, and how long. Only drawdown writes here.';
COMMENT ON TABLE period IS 'Periods that were settled. Instants are microseconds since 1970 UTC. Only drawdown writes here.';
COMMENT ON TABLE revision IS 'What a run made of a period; the one with is_current = 1 counts. Only drawdown writes here.';
COMMENT ON TABLE state IS 'Closing states of shards, immutable, by the hash of what they say. Only drawdown writes here.';
COMMENT ON TABLE shard_state IS 'The closing state of each shard of a revision. Only drawdown writes here.';
COMMENT ON TABLE object IS 'Usage objects that were read. Only drawdown writes here.';
COMMENT ON TABLE outbox IS 'What people are to be told (R6.4). Only drawdown writes here.';
