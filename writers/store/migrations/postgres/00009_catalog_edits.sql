-- How many times the catalog was edited, by whomever: a kept copy of it is as good as its tables as long as nobody has.

-- One row for each statement that wrote to a table of the catalog, in its transaction. Rows are only added, so that nobody
-- waits for anybody, and the sum of those that a snapshot sees names the edits that it sees.
CREATE TABLE catalog_edit (
	edits BIGINT NOT NULL CHECK (edits > 0)
);
ALTER TABLE catalog_edit REPLICA IDENTITY FULL; -- so that rows can be folded also where the whole database is published
INSERT INTO catalog_edit (edits) VALUES (1);

-- The kept copy that holds what the tables held when they had been edited so many times, and under which rules of which
-- program all of it was found to be valid.
CREATE TABLE catalog_current (
	one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	edits   BIGINT  NOT NULL,
	sha256  TEXT    NOT NULL,
	checked TEXT    NOT NULL
);

-- Both functions run as the owner of the tables, since who writes packages need have no right to these. They name their
-- tables with the schema, so that no search path leads them elsewhere.
DO $migration$
BEGIN
	EXECUTE format($create$
		CREATE FUNCTION %1$I.drawdown_count_edit() RETURNS TRIGGER LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
		$$ BEGIN
			INSERT INTO %1$I.catalog_edit (edits) VALUES (1);
			RETURN NULL;
		END $$;
		CREATE FUNCTION %1$I.drawdown_fold_edits() RETURNS TRIGGER LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
		$$ BEGIN
			IF (SELECT COUNT(*) FROM %1$I.catalog_edit) > 500 THEN
				WITH folded AS (DELETE FROM %1$I.catalog_edit RETURNING edits)
				INSERT INTO %1$I.catalog_edit (edits) SELECT SUM(edits) FROM folded HAVING COUNT(*) > 0;
			END IF;
			RETURN NULL;
		END $$$create$, current_schema());
END $migration$;
REVOKE EXECUTE ON FUNCTION drawdown_count_edit(), drawdown_fold_edits() FROM PUBLIC;

-- ALWAYS: also where a restore writes as a replica does, which triggers leave alone otherwise. The worker of a subscription
-- fires no trigger of a statement but that of TRUNCATE, so it counts rows.
DO $migration$
DECLARE
	name TEXT;
BEGIN
	FOREACH name IN ARRAY ARRAY['accounts', 'meters', 'prices', 'packages', 'package_changes', 'alert_rules', 'topups'] LOOP
		EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION drawdown_count_edit()',
			name || '_edits_count', name);
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_edits_count');
		EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION drawdown_count_edit()',
			name || '_replicated_count', name);
		EXECUTE format('ALTER TABLE %I ENABLE REPLICA TRIGGER %I', name, name || '_replicated_count');
	END LOOP;
END $migration$;

-- Whoever says which copy is current holds its one row, so that two never fold the same edits; and a snapshot sees either
-- the rows or their sum.
CREATE TRIGGER catalog_current_folds_edits AFTER INSERT OR UPDATE ON catalog_current
	FOR EACH STATEMENT EXECUTE FUNCTION drawdown_fold_edits();

COMMENT ON TABLE catalog_edit IS 'Edits of the catalog, by whomever: the sum counts. Triggers write here; a row that is added makes the next settle read all of the catalog''s tables.';
COMMENT ON TABLE catalog_current IS 'The kept copy (tables catalog, catalog_chunk) that stands for the catalog''s tables as long as these have not been edited since. Only drawdown writes here.';
