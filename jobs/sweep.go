package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"drawdown/rating"
)

// Sweep finds what nothing refers to, and removes it: revisions of runs that did not commit, states that they stored ahead,
// and temporary files that killed runs left.
//
// A revision's folder is removed only where its token is older than that of the lease under which this runs: whoever wrote
// it cannot commit any more. Nothing that the database or current.json names is touched. Of a folder the manifest goes
// first: nothing may name a file that is gone. Killed in between, what is left is a folder without a manifest, as a run
// leaves it that is killed while it writes; the next sweep takes the rest.
type Sweep struct {
	Newest   func(context.Context) (int64, error) // the newest token that the database has given out
	Token    int64                                // folders of older tokens may go
	Now      rating.Instant
	Grace    time.Duration // what is younger stays
	Register RevisionList
	Attic    Attic
	States   StateSweeper
	Temp     TempFolder
	// TempBefore is when temporary files must have been written last to go. Dry runs hold no lease, and others use the
	// folder too: so it is by the true clock, and a day ago or longer.
	TempBefore rating.Instant
	Progress   func(stage string, done, total int64) // may be nil
}

// RevisionList gives all revisions that the database knows.
type RevisionList interface {
	Revisions(ctx context.Context) ([]BookedRevision, error)
}

// Attic is the output, with what nothing refers to any more.
type Attic interface {
	Current(ctx context.Context) (map[string]Current, error)
	Each(ctx context.Context, visit func(*AtticFile) error) error
	Remove(ctx context.Context, names ...string) error
}

// AtticFile is a file as it is listed.
type AtticFile struct {
	Name      string
	Size      int64
	Modified  rating.Instant
	Folder    string // of the revision that it stands in; empty: in none
	Period    string
	Revision  int
	Token     int64
	Manifest  bool // it is the manifest
	Current   bool // it is current.json
	Temporary bool // a killed run left it that was about to write current.json
}

// StateSweeper removes closing states that nothing names.
type StateSweeper interface {
	// Unnamed counts those of older tokens.
	Unnamed(ctx context.Context, token int64) (states, bytes int64, err error)
	Sweep(ctx context.Context) error
}

// TempFolder is the folder for temporary files.
type TempFolder interface {
	// Left gives what looks like ours: each file, or folder with all in it.
	Left(ctx context.Context) ([]Leftover, error)
	Remove(ctx context.Context, name string) error
}

// Leftover is something that is to go, or that stays.
type Leftover struct {
	Name     string
	Period   string // of a revision
	Revision int
	Token    int64
	Files    int
	Bytes    int64
	Modified rating.Instant // the newest of its files
	Fate     string
	Why      string // why it stays

	names []string
	whole bool // it has a manifest
}

// What becomes of a leftover.
const (
	FateGoes  = "goes"
	FateYoung = "young" // it has not been there for the time of grace
	FateLive  = "live"  // the run that writes it may be alive
	FateKept  = "kept"  // it is a whole settlement, and somebody must decide
)

// Sweepings are what a sweep found.
type Sweepings struct {
	Folders            []Leftover
	Temporary          []Leftover
	States, StateBytes int64
	Foreign            int // files that are no settlement's
}

// NewerOutputError says that the output holds what the database does not know of, so that it is an older copy, or another
// one.
type NewerOutputError struct{ What string }

func (e *NewerOutputError) Error() string {
	return "the output is newer than the database: " + e.What + "; nothing was removed"
}

// Find looks for what can go, and removes nothing. It fails with a [NewerOutputError] where the database is not the one that
// belongs to the output.
func (s *Sweep) Find(ctx context.Context) (*Sweepings, error) {
	current, err := s.Attic.Current(ctx) // first: a run commits before it writes that
	if err != nil {
		return nil, err
	}
	revisions, err := s.Register.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkKnown(current, revisions); err != nil {
		return nil, err
	}
	found := &Sweepings{}
	folders, err := s.list(ctx, revisions, found)
	if err != nil {
		return nil, err
	}
	known := map[[2]string]bool{}
	for i := range revisions {
		known[knownKey(revisions[i].Name, revisions[i].Revision)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		left := folders[dir]
		left.Fate = s.fate(left, known[knownKey(left.Period, left.Revision)])
		if left.Fate == FateKept {
			left.Why = "it is a whole settlement of a period or revision that the database does not know"
		}
		found.Folders = append(found.Folders, *left)
	}
	if found.States, found.StateBytes, err = s.States.Unnamed(ctx, s.Token); err != nil {
		return nil, err
	}
	return found, s.findTemporary(ctx, found)
}

// list goes through the output, and gives what stands in folders that nothing refers to.
func (s *Sweep) list(ctx context.Context, revisions []BookedRevision, found *Sweepings) (map[string]*Leftover, error) {
	newest, err := s.Newest(ctx)
	if err != nil {
		return nil, err
	}
	referred := map[string]bool{}
	for i := range revisions {
		referred[path.Dir(revisions[i].ManifestKey)] = true
	}
	folders := map[string]*Leftover{}
	var seen int64
	err = s.Attic.Each(ctx, func(f *AtticFile) error {
		if seen++; s.Progress != nil {
			s.Progress("list", seen, 0)
		}
		switch {
		case f.Current || f.Folder != "" && referred[f.Folder]:
			return nil
		case f.Temporary:
			left := Leftover{Name: f.Name, Files: 1, Bytes: f.Size, Modified: f.Modified, names: []string{f.Name}}
			left.Fate = s.fate(&left, true)
			found.Temporary = append(found.Temporary, left)
			return nil
		case f.Folder == "" && strings.HasSuffix(f.Name, "/"): // the empty folder of a period: the next settle fills it
			return nil
		case f.Folder == "":
			found.Foreign++
			return nil
		}
		folders[f.Folder] = folders[f.Folder].take(f)
		if f.Token > newest { // a run may have started since
			if newest, err = s.Newest(ctx); err == nil && f.Token > newest {
				err = &NewerOutputError{fmt.Sprintf("%s was written under the token %d, and the database has given out none above %d",
					f.Folder, f.Token, newest)}
			}
			return err
		}
		return nil
	})
	return folders, err
}

func knownKey(period string, revision int) [2]string { return [2]string{period, fmt.Sprint(revision)} }

// take adds a file to what is left in a folder.
func (l *Leftover) take(f *AtticFile) *Leftover {
	if l == nil {
		l = &Leftover{Name: f.Folder, Period: f.Period, Revision: f.Revision, Token: f.Token}
	}
	if !strings.HasSuffix(f.Name, "/") {
		l.Files++
	}
	l.Bytes += f.Size
	l.Modified = max(l.Modified, f.Modified)
	l.whole = l.whole || f.Manifest
	l.names = append(l.names, f.Name)
	if f.Manifest { // it goes first
		last := len(l.names) - 1
		l.names[0], l.names[last] = l.names[last], l.names[0]
	}
	return l
}

// fate says what becomes of something that nothing refers to. A whole settlement goes only where the database has the same
// revision of the same period from another run: otherwise it may be one that a restored database has forgotten.
func (s *Sweep) fate(l *Leftover, known bool) string {
	switch {
	case l.Token >= s.Token:
		return FateLive
	case l.Modified+rating.Instant(s.Grace.Microseconds()) > s.Now:
		return FateYoung
	case l.whole && !known:
		return FateKept
	}
	return FateGoes
}

// checkKnown makes sure that the database knows what current.json names.
func checkKnown(current map[string]Current, revisions []BookedRevision) error {
	type named struct {
		period string
		Current
	}
	known := make(map[named]bool, len(revisions))
	for i := range revisions {
		r := &revisions[i]
		known[named{r.Name, Current{r.Revision, r.ManifestKey, r.ManifestSHA256}}] = true
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if c := current[name]; !known[named{name, c}] {
			return &NewerOutputError{fmt.Sprintf("current.json names revision %d of period %s (%s), which the database does not know",
				c.Revision, name, c.ManifestKey)}
		}
	}
	return nil
}

func (s *Sweep) findTemporary(ctx context.Context, found *Sweepings) error {
	left, err := s.Temp.Left(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if l.Fate = FateGoes; l.Modified < s.TempBefore { // the others may be of a process that works
			found.Temporary = append(found.Temporary, l)
		}
	}
	slices.SortFunc(found.Temporary, func(a, b Leftover) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// Remove removes what [Sweep.Find] found that can go.
func (s *Sweep) Remove(ctx context.Context, found *Sweepings) error {
	for i := range found.Folders {
		if l := &found.Folders[i]; l.Fate == FateGoes {
			if err := s.Attic.Remove(ctx, l.names...); err != nil {
				return fmt.Errorf("remove %s: %w", l.Name, err)
			}
		}
		if s.Progress != nil {
			s.Progress("remove", int64(i+1), int64(len(found.Folders)))
		}
	}
	var errs []error
	for i := range found.Temporary {
		l := &found.Temporary[i]
		switch {
		case l.Fate != FateGoes:
		case len(l.names) > 0:
			errs = append(errs, s.Attic.Remove(ctx, l.names...))
		default:
			errs = append(errs, s.Temp.Remove(ctx, l.Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	if found.States == 0 {
		return nil
	}
	return s.States.Sweep(ctx)
}
