-- What pg_restore, and the worker of a subscription, do with an empty search path: no function that a constraint calls may
-- name another one without its schema. With the schema written down, the tables could not move to another.

CREATE OR REPLACE FUNCTION drawdown_is_quantity(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN value COLLATE "C" ~ '^[0-9]{1,18}$' THEN TRUE
		WHEN value COLLATE "C" ~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$'
			THEN CAST(value AS NUMERIC) BETWEEN 0 AND 9223372036854775807 ELSE FALSE END $$;

CREATE OR REPLACE FUNCTION drawdown_is_whole(value TEXT, low BIGINT, high BIGINT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN value COLLATE "C" ~ '^[0-9]{1,9}$' THEN CAST(value AS BIGINT) BETWEEN low AND high
		WHEN value COLLATE "C" ~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$'
			THEN CAST(value AS NUMERIC) BETWEEN low AND high AND CAST(value AS NUMERIC) = trunc(CAST(value AS NUMERIC)) ELSE FALSE END $$;
