package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// gc plugs output, database and temporary folder into jobs.Sweep. It looks before it takes the lease: where it refuses, the
// database is left as it is, and gives out no token.
func (a *app) gc(c *Config, grace time.Duration, apply bool) (found *jobs.Sweepings, err error) {
	out, err := c.openOutput(a.ctx, a.memory(c))
	if err != nil {
		return nil, &failure{op: "open output", err: err}
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	progress := a.progress()
	defer progress.done()
	sweep := &jobs.Sweep{
		Now: rating.InstantOf(a.now), Grace: grace, Attic: &attic{archive{out}}, Temp: tempFolder(cmp.Or(c.TempDir, os.TempDir())),
		TempBefore: rating.InstantOf(a.clock().Add(-max(grace, 24*time.Hour))), Progress: progress.report,
	}
	err = a.reading(c, func(st *store.Store) error {
		newest, held, err := st.NewestToken(a.ctx, c.Site)
		if err != nil {
			return err
		}
		if sweep.Token = newest + 1; held { // the run that holds the lease may be alive
			sweep.Token = newest
		}
		found, err = a.plugged(c, st, sweep, store.Lease{}).Find(a.ctx)
		return err
	})
	if err == nil && apply {
		found, err = a.sweep(c, sweep)
	}
	var newer *jobs.NewerOutputError
	var known *failure
	switch {
	case errors.As(err, &newer):
		err = &failure{op: "gc", err: newer, hint: `put back the database that belongs to the output; docs/operations.md, "Restored backups"`}
	case err != nil && !errors.As(err, &known):
		err = &failure{op: "gc", err: err}
	}
	return found, err
}

// plugged gives a sweep its database.
func (a *app) plugged(c *Config, st *store.Store, sweep *jobs.Sweep, lease store.Lease) *jobs.Sweep {
	sweep.Register, sweep.States = &register{store: st}, &stateSweeper{st, lease}
	sweep.Newest = func(ctx context.Context) (int64, error) {
		newest, _, err := st.NewestToken(ctx, c.Site)
		return newest, err
	}
	return sweep
}

// sweep removes under the lease what is found under it.
func (a *app) sweep(c *Config, sweep *jobs.Sweep) (found *jobs.Sweepings, err error) {
	st, err := store.Open(a.ctx, c.State, a.writeMode())
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	held, err := a.takeLease(c, st, "gc")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.release(a, err)) }()
	sweep.Token = held.lease.Token
	found, err = a.plugged(c, st, sweep, held.lease).Find(held.ctx)
	if err == nil {
		err = sweep.Remove(held.ctx, found)
	}
	if err != nil {
		return found, held.explainLoss(err)
	}
	held.committed = true
	return found, st.FinishRun(a.ctx, held.run, store.Outcome{State: store.RunCommitted, FinishedAt: rating.InstantOf(a.clock())})
}

// attic makes a settlement.Output a jobs.Attic.
type attic struct{ archive }

func (o *attic) Each(ctx context.Context, visit func(*jobs.AtticFile) error) error {
	return o.List(ctx, "", func(f settlement.Stored) error {
		file := &jobs.AtticFile{
			Name: f.Name, Size: f.Size, Modified: rating.InstantOf(f.Modified), Manifest: settlement.IsManifest(f.Name),
			Current: settlement.IsCurrent(f.Name), Temporary: settlement.IsTemporary(f.Name),
		}
		if dir, period, revision, token, ok := settlement.RevisionFolder(f.Name); ok {
			file.Folder, file.Period, file.Revision, file.Token = dir, period, revision, token
		}
		return visit(file)
	})
}

// stateSweeper makes a store.Store a jobs.StateSweeper.
type stateSweeper struct {
	store *store.Store
	lease store.Lease
}

func (s *stateSweeper) Unnamed(ctx context.Context, token int64) (states, bytes int64, err error) {
	return s.store.UnnamedStates(ctx, token)
}

func (s *stateSweeper) Sweep(ctx context.Context) error { return s.store.SweepStates(ctx, s.lease) }

// tempFolder makes the folder for temporary files a jobs.TempFolder. Others use it, too: what is ours shows in the names.
type tempFolder string

func (f tempFolder) Left(ctx context.Context) ([]jobs.Leftover, error) {
	entries, err := os.ReadDir(string(f))
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ours := regexp.MustCompile(`^drawdown-(\d+\.(spill|quarantine)|(dry-run|explain|verify|case|object)-\d+)$`)
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var list []jobs.Leftover
	for _, entry := range entries {
		if !ours.MatchString(entry.Name()) {
			continue
		}
		left := jobs.Leftover{Name: path.Join(string(f), entry.Name())}
		take := func(_ string, within fs.DirEntry, err error) error {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			info, err := within.Info()
			if err != nil {
				return err
			}
			left.Modified = max(left.Modified, rating.InstantOf(info.ModTime()))
			if !within.IsDir() {
				left.Files, left.Bytes = left.Files+1, left.Bytes+info.Size()
			}
			return nil
		}
		var err error
		if entry.IsDir() {
			err = fs.WalkDir(root.FS(), entry.Name(), take)
		} else { // also a link, which is not followed
			err = take("", entry, nil)
		}
		switch {
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist): // another user's, or gone meanwhile
		case err != nil:
			return nil, err
		default:
			list = append(list, left)
		}
	}
	return list, nil
}

func (f tempFolder) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return err
	}
	err = root.RemoveAll(path.Base(name)) // it follows no link
	if errors.Is(err, fs.ErrPermission) { // another user's
		err = nil
	}
	return errors.Join(err, root.Close())
}
