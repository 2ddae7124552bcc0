package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema to this program's version. Programs that start at once on an empty database race; those that
// lose find the work done when they look again.
func migrate(ctx context.Context, db *sqlx.DB) error {
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.DB, folder, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	const attempts = 4
	var first error // the later ones may follow from it
	for range attempts {
		var current, newest int64
		if current, newest, err = provider.GetVersions(ctx); err == nil {
			if current > newest {
				return newerSchema(current, newest)
			}
			if current == newest {
				return nil
			}
			_, err = provider.Up(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first == nil {
			first = err
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
func checkVersion(ctx context.Context, db *sqlx.DB) error {
	var current int64
	err := db.GetContext(ctx, &current, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`)
	if err != nil {
		return fmt.Errorf("this is no database of drawdown, or an empty one: %w; run drawdown catalog apply, or settle", err)
	}
	names, err := fs.ReadDir(migrations, "migrations")
	if err != nil {
		return err
	}
	newest, err := goose.NumericComponent(names[len(names)-1].Name())
	switch {
	case err != nil:
		return err
	case current > newest:
		return newerSchema(current, newest)
	case current < newest:
		return fmt.Errorf("the schema has version %d, and this program needs %d; any command that writes brings it up to date, "+
			"e.g. drawdown settle", current, newest)
	}
	return nil
}
