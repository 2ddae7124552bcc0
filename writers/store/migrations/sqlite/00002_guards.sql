-- SQLite has no regular expressions and adds no CHECK to a table that stands: what is written into its catalog is judged by
-- `drawdown catalog apply` and by each settle. This statement is there since a migration needs one.
CREATE INDEX run_state ON run (state);
