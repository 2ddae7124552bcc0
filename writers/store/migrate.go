package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql migrations/*/*.sql
var migrations embed.FS

// ownMigrations are those that each database has in its own words, by version; some are needed by one of them alone.
func ownMigrations() map[int64]string {
	return map[int64]string{
		2: "00002_guards.sql", 4: "00004_comments.sql", 5: "00005_outbox_elsewhere.sql", 7: "00007_comments.sql",
		9: "00009_catalog_edits.sql", 12: "00012_restore.sql",
	}
}

// provider knows all migrations of a database: those of the folder, and that of its own language.
func provider(db *sqlx.DB) (*goose.Provider, error) {
	d := dialectOf(db)
	common, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	var own []*goose.Migration
	for version, name := range ownMigrations() {
		text, err := migrations.ReadFile("migrations/" + d.guards + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		run := func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, string(text))
			return err
		}
		own = append(own, goose.NewGoMigration(version, &goose.GoFunc{RunTx: run}, nil))
	}
	return goose.NewProvider(d.migrations, db.DB, common, goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(own...))
}

// migrate brings the schema to this program's version. Programs that start at once on an empty database race; those that
// lose find the work done when they look again.
func migrate(ctx context.Context, db *sqlx.DB) error {
	const attempts = 12  // without any version that is new since the one before
	var first, err error // the later ones may follow from the first
	reached := int64(-1)
	for attempt := 0; attempt < attempts; attempt++ {
		var all *goose.Provider
		if all, err = provider(db); err != nil { // a new one each time: it does not repeat what has failed
			return err
		}
		var current, newest int64
		if current, newest, err = all.GetVersions(ctx); err == nil {
			if current > newest {
				return newerSchema(current, newest)
			}
			if current == newest {
				return nil
			}
			if current > reached {
				reached, attempt = current, 0
			}
			_, err = all.Up(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first == nil {
			first = err
		}
		if denied(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("migrate the schema: %w", first)
	}
	return nil
}

func newerSchema(current, newest int64) error {
	return fmt.Errorf("the schema has version %d, and this program knows versions up to %d: a newer drawdown has used it; "+
		"install that version", current, newest)
}

// checkVersion makes sure that a reader finds the tables it knows.
func (s *Store) checkVersion(ctx context.Context) error {
	all, err := provider(s.read)
	if err != nil {
		return err
	}
	sources := all.ListSources()
	newest := sources[len(sources)-1].Version
	var current int64
	err = s.get(ctx, &current, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`)
	switch {
	case err != nil && s.dialect.lacksTable(err):
		return ErrEmpty
	case err != nil:
		return fmt.Errorf("this is no database of drawdown: %w", err)
	case current > newest:
		return newerSchema(current, newest)
	case current < newest:
		return fmt.Errorf("the schema has version %d, and this program needs %d; any command that writes brings it up to date, "+
			"e.g. drawdown settle", current, newest)
	}
	return nil
}
