-- How many times the catalog was edited, by whomever: a kept copy of it is as good as its tables as long as nobody has.

-- One row. SQLite has one writer at a time, who counts in it.
CREATE TABLE catalog_edit (
	edits BIGINT NOT NULL CHECK (edits > 0)
);
INSERT INTO catalog_edit (edits) VALUES (1);

-- The kept copy that holds what the tables held when they had been edited so many times, and under which rules of which
-- program all of it was found to be valid.
CREATE TABLE catalog_current (
	one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	edits   BIGINT  NOT NULL,
	sha256  TEXT    NOT NULL,
	checked TEXT    NOT NULL
);

CREATE TRIGGER accounts_inserts_count AFTER INSERT ON accounts BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER accounts_updates_count AFTER UPDATE ON accounts BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER accounts_deletes_count AFTER DELETE ON accounts BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER meters_inserts_count AFTER INSERT ON meters BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER meters_updates_count AFTER UPDATE ON meters BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER meters_deletes_count AFTER DELETE ON meters BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER prices_inserts_count AFTER INSERT ON prices BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER prices_updates_count AFTER UPDATE ON prices BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER prices_deletes_count AFTER DELETE ON prices BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER packages_inserts_count AFTER INSERT ON packages BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER packages_updates_count AFTER UPDATE ON packages BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER packages_deletes_count AFTER DELETE ON packages BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER package_changes_inserts_count AFTER INSERT ON package_changes BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER package_changes_updates_count AFTER UPDATE ON package_changes BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER package_changes_deletes_count AFTER DELETE ON package_changes BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER alert_rules_inserts_count AFTER INSERT ON alert_rules BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER alert_rules_updates_count AFTER UPDATE ON alert_rules BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER alert_rules_deletes_count AFTER DELETE ON alert_rules BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER topups_inserts_count AFTER INSERT ON topups BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER topups_updates_count AFTER UPDATE ON topups BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
CREATE TRIGGER topups_deletes_count AFTER DELETE ON topups BEGIN UPDATE catalog_edit SET edits = edits + 1; END;
