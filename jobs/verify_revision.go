package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"drawdown/rating"
)

// revisionCheck checks one revision.
type revisionCheck struct {
	*Verify
	all      []BookedRevision
	r        *BookedRevision
	faults   *faults
	archived ArchivedRevision  // nil: it has no manifest that can be read
	manifest *ArchivedManifest // nil: the same
	files    int
	bytes    atomic.Int64

	mu      sync.Mutex
	sound   map[string]bool // files by name that are what the manifest says
	noticed noticeSums      // of the table
}

func (c *revisionCheck) fault(kind, place, format string, args ...any) {
	c.faults.add(Fault{Period: c.r.Name, Revision: c.r.Revision, Kind: kind, Place: place, What: fmt.Sprintf(format, args...)})
}

// file is where a file of the revision stands.
func (c *revisionCheck) file(name string) string { return path.Join(path.Dir(c.r.ManifestKey), name) }

func (c *revisionCheck) booked(format string, args ...any) {
	c.faults.add(c.r.fault(FaultDatabase, format, args...))
}

func (c *revisionCheck) run(ctx context.Context) error {
	c.sound = map[string]bool{}
	c.checkRow()
	if err := c.openManifest(ctx); err != nil {
		return err
	}
	if c.manifest != nil {
		c.compareManifest()
		if err := c.checkNames(ctx); err != nil {
			return err
		}
		if err := c.checkFiles(ctx); err != nil {
			return err
		}
	}
	c.checkChain()
	if err := c.checkStates(ctx); err != nil {
		return err
	}
	if c.r.Current {
		return c.checkNotices(ctx)
	}
	return nil
}

// checkRow checks what the database's row says by itself.
func (c *revisionCheck) checkRow() {
	r := c.r
	if r.RunState != "committed" {
		c.booked("its run %d is %s, and not committed", r.Run, orNone(r.RunState))
	}
	if r.RunToken != r.Token && r.RunState != "" {
		c.booked("its token is %d, but that of its run %d is %d", r.Token, r.Run, r.RunToken)
	}
	if dir := path.Dir(r.ManifestKey); dir != r.Folder {
		c.booked("manifest_key is %s, but its files should stand in %s", r.ManifestKey, r.Folder)
	}
	if r.RowsFault != nil {
		c.booked("totals cannot be read: %v", r.RowsFault)
	}
}

func orNone(text string) string {
	if text == "" {
		return "not there"
	}
	return text
}

func (c *revisionCheck) openManifest(ctx context.Context) error {
	archived, err := c.Archive.Open(ctx, c.r.ManifestKey)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fault(FaultMissing, c.r.ManifestKey, "the manifest is not there; restore the revision's folder from a copy")
		return nil
	case err != nil:
		c.fault(FaultManifest, c.r.ManifestKey, "%v", err)
		return nil
	}
	c.archived, c.manifest = archived, archived.Manifest()
	if c.manifest.SHA256 != c.r.ManifestSHA256 {
		c.fault(FaultManifest, c.r.ManifestKey, "it is not the manifest that was committed: its SHA-256 is %x, and the database says %x",
			c.manifest.SHA256, c.r.ManifestSHA256)
	}
	return nil
}

// compareManifest compares what the manifest and the database both say.
func (c *revisionCheck) compareManifest() {
	r, m := c.r, c.manifest
	for _, same := range []struct {
		name             string
		database, stands any
	}{
		{"period_name", r.Name, m.Name},
		{"period_start", r.Period.Start, m.Period.Start},
		{"period_end", r.Period.End, m.Period.End},
		{"revision", r.Revision, m.Revision},
		{"previous_manifest_sha256", hexOf(r.PreviousSHA256), hexOf(m.PreviousSHA256)},
		{"config_sha256", hexOf(r.ConfigSHA256), hexOf(m.ConfigSHA256)},
		{"catalog_sha256", hexOf(r.CatalogSHA256), hexOf(m.CatalogSHA256)},
		{"opening_sha256", hexOf(r.OpeningSHA256), hexOf(HashOfShards(m.OpeningSHA256))},
		{"closing_sha256", hexOf(r.ClosingSHA256), hexOf(HashOfShards(m.ClosingSHA256))},
		{"shards", r.Shards, int64(len(m.ClosingSHA256))},
		{"totals", r.Rows, m.Rows},
	} {
		if same.database != same.stands && (same.name != "totals" || r.RowsFault == nil) {
			c.booked("%s is %v, but the manifest says %v", same.name, same.database, same.stands)
		}
	}
	notices := int64(0)
	for i := range m.Files {
		if m.Files[i].Table == "notices" {
			notices += m.Files[i].Rows
		}
	}
	if notices != r.NoticeCount {
		c.booked("notices is %d, but the table has %d rows", r.NoticeCount, notices)
	}
}

func hexOf(sum [32]byte) string {
	if sum == [32]byte{} {
		return "empty"
	}
	return fmt.Sprintf("%x", sum)
}

// checkNames finds files that are missing, that nothing names, and that have another name than they had.
func (c *revisionCheck) checkNames(ctx context.Context) error {
	names, err := c.Archive.Names(ctx, c.r.ManifestKey)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	delete(there, path.Base(c.r.ManifestKey))
	var missing []*ArchivedFile
	for i := range c.manifest.Files {
		f := &c.manifest.Files[i]
		if !there[f.Name] {
			missing = append(missing, f)
		}
		delete(there, f.Name)
	}
	for _, f := range missing {
		if name := c.renamed(ctx, f, there); name != "" {
			c.fault(FaultRenamed, c.file(name), "it is %s under another name; rename it", f.Name)
			delete(there, name)
			continue
		}
		c.fault(FaultMissing, c.file(f.Name), "the manifest names it, and it is not there; restore it from a copy")
	}
	for name := range there {
		c.fault(FaultExtra, c.file(name), "the manifest does not name it; a reader of the whole folder would count it")
	}
	return context.Cause(ctx)
}

// renamed looks for a missing file under another name.
func (c *revisionCheck) renamed(ctx context.Context, missing *ArchivedFile, there map[string]bool) string {
	for name := range there {
		f := *missing
		f.Name = name
		if c.archived.Verify(ctx, &f) == nil {
			return name
		}
	}
	return ""
}

func (c *revisionCheck) setSound(name string, sound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sound[name] = sound
}

// checkFiles checks all files, and then what they add up to.
func (c *revisionCheck) checkFiles(ctx context.Context) error {
	files := c.manifest.Files
	c.files = len(files)
	err := side(ctx, c.Workers, len(files), func(ctx context.Context, n int) error {
		f := &files[n]
		err := c.archived.Verify(ctx, f)
		if err == nil && f.Table == "notices" {
			err = c.sumNotices(ctx, f)
		}
		c.bytes.Add(f.Size)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist): // named above
		case err != nil:
			c.fault(FaultChanged, c.file(f.Name), "%v", err)
		}
		c.setSound(f.Name, err == nil)
		return nil
	})
	if err != nil {
		return err
	}
	if c.allSound("lines") && c.allSound("charges") && c.allSound("quarantine") {
		for _, err := range c.archived.Totals() {
			c.fault(FaultTotals, c.r.ManifestKey, "%v", err)
		}
	}
	return nil
}

// allSound tells whether all files of a table are what the manifest says.
func (c *revisionCheck) allSound(table string) bool {
	return c.manifest != nil && !slices.ContainsFunc(c.manifest.Files, func(f ArchivedFile) bool { return f.Table == table && !c.sound[f.Name] })
}

// checkChain checks that the revision follows from one of the period before, and that it opens with what that closed with.
func (c *revisionCheck) checkChain() {
	previous, opening := c.r.PreviousSHA256, c.r.OpeningSHA256
	place := c.r.fault("", "").Place
	if c.manifest != nil {
		previous, opening, place = c.manifest.PreviousSHA256, HashOfShards(c.manifest.OpeningSHA256), c.r.ManifestKey
	}
	earlier := before(c.all, c.r)
	if len(earlier) == 0 {
		if previous != [32]byte{} || opening != [32]byte{} {
			c.fault(FaultChain, place, "it builds on the manifest %s, but the database has no period before it", hexOf(previous))
		}
		return
	}
	i := slices.IndexFunc(earlier, func(b BookedRevision) bool { return b.ManifestSHA256 == previous })
	newest := &earlier[len(earlier)-1]
	switch {
	case i < 0:
		c.fault(FaultChain, place, "it builds on the manifest %s of the period before, but that of %s is %x",
			hexOf(previous), newest.Name, newest.ManifestSHA256)
	case opening != earlier[i].ClosingSHA256:
		c.fault(FaultChain, place, "it opens with %s, but %s closes with %s", hexOf(opening), newest.Name, hexOf(earlier[i].ClosingSHA256))
	case c.r.Current && opening != newest.ClosingSHA256:
		c.fault(FaultChain, place, "it opens with what revision %d of %s closed with, and revision %d closes with something else",
			earlier[i].Revision, newest.Name, newest.Revision)
	}
}

// checkStates opens every closing state, and compares it with the balances of its shard.
func (c *revisionCheck) checkStates(ctx context.Context) error {
	shards, err := c.Register.Shards(ctx, c.r)
	if err != nil {
		return err
	}
	hashes := make([][32]byte, len(shards))
	var payers, packages int64
	for i := range shards {
		hashes[i] = shards[i].SHA256
		payers += shards[i].Payers
		packages += shards[i].Packages
	}
	if sum := HashOfShards(hashes); sum != c.r.ClosingSHA256 {
		c.booked("closing_sha256 is %s, but the closing states of its %d shards have %s", hexOf(c.r.ClosingSHA256), len(shards), hexOf(sum))
	}
	if int64(len(shards)) != c.r.Shards || payers != c.r.Payers || packages != c.r.Packages {
		c.booked("it has %d shards, %d payers and %d packages, but its closing states have %d, %d and %d",
			c.r.Shards, c.r.Payers, c.r.Packages, len(shards), payers, packages)
	}
	return side(ctx, c.Workers, len(shards), func(ctx context.Context, n int) error { return c.checkState(ctx, n, &shards[n]) })
}

func (c *revisionCheck) checkState(ctx context.Context, n int, s *BookedShard) error {
	place := fmt.Sprintf("database: state of shard %d of %s", s.Shard, c.r.Name)
	if s.Shard != n {
		c.fault(FaultState, place, "it stands in the place of shard %d", n)
		return nil
	}
	if c.manifest != nil && n < len(c.manifest.ClosingSHA256) && c.manifest.ClosingSHA256[n] != s.SHA256 {
		c.fault(FaultState, place, "the database names the state %x, but the manifest says %x", s.SHA256, c.manifest.ClosingSHA256[n])
	}
	if !s.Found {
		c.fault(FaultState, place, "there is no state %x; restore the database", s.SHA256)
		return nil
	}
	state, err := c.States.Open(ctx, s.SHA256)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		c.fault(FaultState, place, "%v", err)
		return nil
	}
	if state.Payers != s.Payers || state.Packages != s.Packages {
		c.fault(FaultState, place, "its row says %d payers and %d packages, but it holds %d and %d", s.Payers, s.Packages, state.Payers, state.Packages)
	}
	if err := c.compareBalances(ctx, n, state); err != nil {
		return err
	}
	if c.manifest == nil || len(c.manifest.OpeningSHA256) <= n {
		return nil
	}
	return c.compareOpening(ctx, n)
}

// remainders adds up what the rows of a shard's balances say is left of each package; false where they cannot be read.
func (c *revisionCheck) remainders(ctx context.Context, shard int, of func(*BookedBalance) rating.Amount) (map[string]rating.Amount, string, bool) {
	sums, place := map[string]rating.Amount{}, ""
	if c.manifest == nil {
		return nil, "", false
	}
	for i := range c.manifest.Files {
		f := &c.manifest.Files[i]
		if f.Table != "balances" || f.Shard != shard {
			continue
		}
		if !c.sound[f.Name] {
			return nil, "", false
		}
		place = c.file(f.Name)
		err := c.archived.Balances(ctx, f, func(b *BookedBalance) error {
			sums[b.Package], _ = sums[b.Package].Add(of(b))
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				c.fault(FaultChanged, place, "%v", err)
			}
			return nil, "", false
		}
	}
	return sums, place, true
}

func closingOf(b *BookedBalance) rating.Amount { return b.Closing }
func openingOf(b *BookedBalance) rating.Amount { return b.Opening }

// compareBalances compares what is left of each package in a closing state with the balances table.
func (c *revisionCheck) compareBalances(ctx context.Context, shard int, state *OpenedState) error {
	closing, place, ok := c.remainders(ctx, shard, closingOf)
	if !ok {
		return context.Cause(ctx)
	}
	if place == "" {
		place = fmt.Sprintf("database: state of shard %d of %s", shard, c.r.Name)
	}
	for pkg, left := range state.Remaining {
		if closing[pkg] != left {
			c.fault(FaultBalance, place, "package %s: the table says that %s is left, and the closing state in the database that %s is", pkg, closing[pkg], left)
		}
		delete(closing, pkg)
	}
	for pkg, left := range closing {
		if left.Sign() != 0 {
			c.fault(FaultBalance, place, "package %s: the table says that %s is left, and the closing state in the database does not know it", pkg, left)
		}
	}
	return nil
}

// compareOpening compares what packages open with in the balances table with the state that the period was settled from.
func (c *revisionCheck) compareOpening(ctx context.Context, shard int) error {
	opening, place, ok := c.remainders(ctx, shard, openingOf)
	if !ok {
		return context.Cause(ctx)
	}
	state, err := c.States.Open(ctx, c.manifest.OpeningSHA256[shard])
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		c.fault(FaultState, fmt.Sprintf("database: opening state of shard %d of %s", shard, c.r.Name), "%v", err)
		return nil
	}
	for pkg, opens := range opening {
		if left := state.Remaining[pkg]; left != opens {
			c.fault(FaultBalance, place, "package %s: it opens with %s, but the period before left %s", pkg, opens, left)
		}
		delete(state.Remaining, pkg)
	}
	for pkg, left := range state.Remaining {
		if left.Sign() != 0 {
			c.fault(FaultBalance, place, "package %s: the period before left %s, and there is no row of it", pkg, left)
		}
	}
	return nil
}

// noticeSums are fingerprints of notices, added up by what their keys begin with, whatever their order.
type noticeSums [256]rating.Amount

// text writes a notice as one text.
func (n *BookedNotice) text() string {
	return strings.Join([]string{
		n.DedupKey, n.Kind, n.Account, n.Package, n.Meter, n.CycleStart.String(), n.ThresholdType, n.Threshold, n.Remaining,
		n.RecordID, n.At.String(),
	}, "\x1f")
}

// bucket numbers the sum that a notice belongs to.
func (n *BookedNotice) bucket() byte {
	sum := sha256.Sum256([]byte(n.DedupKey))
	return sum[0]
}

func (s *noticeSums) add(n *BookedNotice) {
	sum := sha256.Sum256([]byte(n.text()))
	of := &s[n.bucket()]
	*of, _ = of.Add(rating.Amount{Hi: int64(binary.BigEndian.Uint64(sum[:])), Lo: binary.BigEndian.Uint64(sum[8:])})
}

func (c *revisionCheck) sumNotices(ctx context.Context, f *ArchivedFile) error {
	var sums noticeSums
	err := c.archived.Noticed(ctx, f, func(n *BookedNotice) error {
		sums.add(n)
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range sums {
		c.noticed[i], _ = c.noticed[i].Add(sums[i])
	}
	return err
}

// checkNotices compares the outbox with the notices table: by sums first, and where these differ, row by row.
func (c *revisionCheck) checkNotices(ctx context.Context) error {
	if !c.allSound("notices") {
		return nil
	}
	var kept noticeSums
	err := c.Notices.Kept(ctx, c.r.Period.Start, func(n *KeptNotice) error {
		if n.Revision != c.r.Revision {
			c.fault(FaultNotice, placeOutbox, "notice %s was found by revision %d, which is not the current one, and is not withdrawn", n.DedupKey, n.Revision)
			return nil
		}
		kept.add(&n.BookedNotice)
		return nil
	})
	if err != nil || kept == c.noticed {
		return err
	}
	rows := map[string]*KeptNotice{}
	differs := func(n *BookedNotice) bool { return kept[n.bucket()] != c.noticed[n.bucket()] }
	err = c.Notices.Kept(ctx, c.r.Period.Start, func(n *KeptNotice) error {
		if n.Revision == c.r.Revision && differs(&n.BookedNotice) {
			row := *n
			rows[n.DedupKey] = &row
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range c.manifest.Files {
		f := &c.manifest.Files[i]
		if f.Table != "notices" {
			continue
		}
		err := c.archived.Noticed(ctx, f, func(n *BookedNotice) error {
			if differs(n) {
				c.compareNotice(rows[n.DedupKey], n, f)
				delete(rows, n.DedupKey)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for key := range rows {
		c.fault(FaultNotice, placeOutbox, "notice %s is in the outbox, and the notices table does not have it", key)
	}
	return nil
}

// compareNotice compares a row of the table with that of the outbox.
func (c *revisionCheck) compareNotice(kept *KeptNotice, n *BookedNotice, f *ArchivedFile) {
	if kept == nil {
		c.fault(FaultNotice, placeOutbox, "notice %s of %s is not in the outbox", n.DedupKey, f.Name)
		return
	}
	is := kept.BookedNotice
	if kept.Sent {
		is.Meter, is.Remaining, is.RecordID, is.At = n.Meter, n.Remaining, n.RecordID, n.At
	}
	if is == *n {
		return
	}
	for _, field := range [][3]string{
		{"kind", is.Kind, n.Kind},
		{"account", is.Account, n.Account},
		{"package", is.Package, n.Package},
		{"meter", is.Meter, n.Meter},
		{"cycle_start", is.CycleStart.String(), n.CycleStart.String()},
		{"threshold_type", is.ThresholdType, n.ThresholdType},
		{"threshold", is.Threshold, n.Threshold},
		{"remaining", is.Remaining, n.Remaining},
		{"record_id", is.RecordID, n.RecordID},
		{"at", is.At.String(), n.At.String()},
	} {
		if field[1] != field[2] {
			c.fault(FaultNotice, placeOutbox, "notice %s: %s is %q, but the notices table says %q", n.DedupKey, field[0], field[1], field[2])
		}
	}
}
