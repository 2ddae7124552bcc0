package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"drawdown/rating"
)

// Verify checks what was settled: the files against their manifests, the manifests against the database and against each
// other, and the balances in the database against those in the files. It writes nothing, and gives all that is wrong.
type Verify struct {
	Chosen   func(*BookedRevision) bool // which to check
	Workers  int
	Register Register
	Notices  NoticeRegister
	States   States
	Archive  Archive
	Deep     *Resettle                             // nil: nothing is settled again
	Progress func(stage string, done, total int64) // may be nil
}

// Register is what the database says of what was settled.
type Register interface {
	// Revisions gives all revisions of all periods, by period and revision.
	Revisions(ctx context.Context) ([]BookedRevision, error)
	// Shards gives the closing states that a revision names, by shard.
	Shards(ctx context.Context, r *BookedRevision) ([]BookedShard, error)
}

// NoticeRegister is what stands in the outbox.
type NoticeRegister interface {
	// Kept visits the notices of a period that were not withdrawn.
	Kept(ctx context.Context, period rating.Instant, visit func(*KeptNotice) error) error
	// Stray counts notices of revisions that are not current.
	Stray(ctx context.Context) (int64, error)
}

// States are what the database keeps by hashes: closing states, and catalogs.
type States interface {
	Open(ctx context.Context, sha256 [32]byte) (*OpenedState, error)
	// Catalog checks a catalog that was kept; where none was, there is nothing to check.
	Catalog(ctx context.Context, sha256 [32]byte) error
	// CurrentCatalog checks that the copy which stands for the catalog's tables holds what they do.
	CurrentCatalog(ctx context.Context) error
}

// Archive is the output as it stands.
type Archive interface {
	// Current gives what current.json says.
	Current(ctx context.Context) (map[string]Current, error)
	// Names gives the files that stand beside a manifest, itself included, by their names there.
	Names(ctx context.Context, manifestKey string) ([]string, error)
	// Open reads a manifest. One that is missing or cannot be believed is an error.
	Open(ctx context.Context, manifestKey string) (ArchivedRevision, error)
}

// ArchivedRevision is a revision by its manifest.
type ArchivedRevision interface {
	Manifest() *ArchivedManifest
	// Verify checks a file against the manifest, and its rows by themselves.
	Verify(ctx context.Context, f *ArchivedFile) error
	// Totals holds the control totals against the files that were verified.
	Totals() []error
	RowReader
}

// RowReader gives rows of files.
type RowReader interface {
	Balances(ctx context.Context, f *ArchivedFile, visit func(*BookedBalance) error) error
	Noticed(ctx context.Context, f *ArchivedFile, visit func(*BookedNotice) error) error
}

// BookedRevision is a revision as the database has it.
type BookedRevision struct {
	Period                                rating.Period
	Name                                  string
	Revision                              int
	Current                               bool
	Run                                   int64
	RunState, RunVersion                  string
	RunToken, Token                       int64
	ManifestKey                           string
	Folder                                string // that the manifest should stand in
	ManifestSHA256, PreviousSHA256        [32]byte
	ConfigSHA256, CatalogSHA256           [32]byte
	OpeningSHA256, ClosingSHA256          [32]byte
	Shards, Payers, Packages, NoticeCount int64
	Rows                                  RowCounts
	RowsFault                             error // the counts cannot be read
}

// BookedShard is the closing state of a shard as the database names it.
type BookedShard struct {
	Shard            int
	SHA256           [32]byte
	Found            bool
	Payers, Packages int64
}

// OpenedState is what a closing state says.
type OpenedState struct {
	Payers, Packages int64
	Remaining        map[string]rating.Amount // by package
}

// ArchivedManifest is a manifest as it stands.
type ArchivedManifest struct {
	Manifest
	SHA256       [32]byte // of its bytes
	ConfigSHA256 [32]byte
	Files        []ArchivedFile
}

// ArchivedFile is a file as the manifest has it.
type ArchivedFile struct {
	Name, Table string
	Shard       int
	Rows, Size  int64
	SHA256      [32]byte
}

// BookedBalance is a row of balances, as far as it is about what is left.
type BookedBalance struct {
	Package          string
	Opening, Closing rating.Amount
}

// BookedNotice is a notice in the words of the table.
type BookedNotice struct {
	DedupKey, Kind, Account, Package, Meter string
	CycleStart                              rating.Instant
	ThresholdType, Threshold                string
	// One that has been sent keeps these as they were then.
	Remaining, RecordID string
	At                  rating.Instant
}

// KeptNotice is a notice in the outbox.
type KeptNotice struct {
	BookedNotice
	Revision int
	Sent     bool
}

// Fault is something that is not as it was settled.
type Fault struct {
	Period   string // empty: of no single one
	Revision int
	Kind     string
	Place    string // a file of the output, or a place in the database
	What     string
}

// Kinds of faults.
const (
	FaultMissing  = "missing"  // a file is not there
	FaultExtra    = "extra"    // a file is there that the manifest does not name
	FaultRenamed  = "renamed"  // a file has another name
	FaultChanged  = "changed"  // a file is not what the manifest says, or its rows contradict each other
	FaultManifest = "manifest" // a manifest is not the one that was committed
	FaultDatabase = "database" // the database says something else than the manifest
	FaultCurrent  = "current"  // current.json says something else than the database
	FaultChain    = "chain"    // a period does not follow from the one before
	FaultTotals   = "totals"   // control totals differ from what the files add up to
	FaultState    = "state"    // a closing state is missing or damaged
	FaultBalance  = "balance"  // what is left of a package differs between database and file
	FaultCatalog  = "catalog"  // a catalog that was kept is damaged, or the tables were edited behind the copy that stands for them
	FaultNotice   = "notice"   // the outbox differs from the table
	FaultDeep     = "deep"     // settled again, it comes to something else
)

// Verification is what was checked and found.
type Verification struct {
	Revisions []VerifiedRevision
	Faults    []Fault
}

// VerifiedRevision is a revision that was checked.
type VerifiedRevision struct {
	Period     string
	Revision   int
	Files      int
	Bytes      int64
	Faults     int
	Repeated   bool   // settled again
	Unrepeated string // why it cannot be settled again; empty where it was, or where nobody asked
}

// mostAlike is how many faults of a kind and place are told of one by one.
const mostAlike = 10

// faults collects faults from many goroutines.
type faults struct {
	mu    sync.Mutex
	list  []Fault
	alike map[[2]string]int
}

func (f *faults) add(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := [2]string{fault.Kind, fault.Place}
	if f.alike[key]++; f.alike[key] <= mostAlike {
		f.list = append(f.list, fault)
	}
}

// sorted gives the faults by place; what there was more of its kind stands in the last one.
func (f *faults) sorted() []Fault {
	for key, n := range f.alike {
		if n > mostAlike {
			last := Fault{Kind: key[0], Place: key[1], What: fmt.Sprintf("and %d more like these", n-mostAlike)}
			for _, fault := range f.list {
				if fault.Kind == key[0] && fault.Place == key[1] {
					last.Period, last.Revision = fault.Period, fault.Revision
				}
			}
			f.list = append(f.list, last)
		}
	}
	slices.SortStableFunc(f.list, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Period, b.Period), cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Place, b.Place),
			cmp.Compare(a.Kind, b.Kind))
	})
	return f.list
}

// Run checks all that was chosen. Its error is one of reading, not a fault that it found.
func (v *Verify) Run(ctx context.Context) (*Verification, error) {
	all, err := v.Register.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	result := &Verification{}
	overall := &faults{alike: map[[2]string]int{}}
	if err := v.checkCurrent(ctx, all, overall); err != nil {
		return nil, err
	}
	if err := v.checkDatabase(ctx, overall); err != nil {
		return nil, err
	}
	v.checkOrder(all, overall)
	var chosen []*BookedRevision
	for i := range all {
		if v.Chosen(&all[i]) {
			chosen = append(chosen, &all[i])
		}
	}
	manifests, catalogs := make([]*ArchivedManifest, len(chosen)), map[[32]byte]bool{}
	for i, r := range chosen {
		c := &revisionCheck{Verify: v, all: all, r: r, faults: &faults{alike: map[[2]string]int{}}}
		if err := c.run(ctx); err != nil {
			return nil, fmt.Errorf("verify period %s: %w", r.Name, err)
		}
		if !catalogs[r.CatalogSHA256] {
			catalogs[r.CatalogSHA256] = true
			if err := v.States.Catalog(ctx, r.CatalogSHA256); ctx.Err() != nil {
				return nil, context.Cause(ctx)
			} else if err != nil {
				c.faults.add(r.fault(FaultCatalog, "%v", err))
			}
		}
		done := VerifiedRevision{Period: r.Name, Revision: r.Revision, Files: c.files, Bytes: c.bytes.Load()}
		found := c.faults.sorted()
		done.Faults, manifests[i] = len(found), c.manifest
		result.Revisions = append(result.Revisions, done)
		result.Faults = append(result.Faults, found...)
		v.progress("verify", int64(i+1), int64(len(chosen)))
	}
	if v.Deep != nil {
		if err := v.Deep.run(ctx, chosen, manifests, result); err != nil {
			return nil, err
		}
	}
	result.Faults = append(overall.sorted(), result.Faults...)
	return result, nil
}

func (v *Verify) progress(stage string, done, total int64) {
	if v.Progress != nil {
		v.Progress(stage, done, total)
	}
}

// Places in the database.
const (
	placeCurrent = "current.json"
	placeOutbox  = "database: outbox"
	placeCatalog = "database: catalog_current"
)

// checkDatabase checks what is of no single period.
func (v *Verify) checkDatabase(ctx context.Context, f *faults) error {
	stray, err := v.Notices.Stray(ctx)
	if err != nil {
		return err
	}
	if stray > 0 {
		f.add(Fault{Kind: FaultNotice, Place: placeOutbox, What: fmt.Sprintf("%d notices say they were found by a revision that does not exist, or is not the current one, and are not withdrawn", stray)})
	}
	if err := v.States.CurrentCatalog(ctx); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		f.add(Fault{Kind: FaultCatalog, Place: placeCatalog, What: err.Error()})
	}
	return nil
}

// checkCurrent compares current.json with what the database has as current.
func (v *Verify) checkCurrent(ctx context.Context, all []BookedRevision, f *faults) error {
	says, err := v.Archive.Current(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.add(Fault{Kind: FaultCurrent, Place: placeCurrent, What: err.Error()})
		return nil
	}
	fault := func(r *BookedRevision, format string, args ...any) {
		f.add(Fault{Period: r.Name, Revision: r.Revision, Kind: FaultCurrent, Place: placeCurrent, What: fmt.Sprintf(format, args...)})
	}
	for i := range all {
		r := &all[i]
		if !r.Current {
			continue
		}
		is, found := says[r.Name]
		delete(says, r.Name)
		switch {
		case !found:
			fault(r, "it does not name the period; the next settle writes it again")
		case is.Revision != r.Revision:
			fault(r, "it names revision %d, and the database revision %d; the next settle writes it again", is.Revision, r.Revision)
		case is.ManifestKey != r.ManifestKey:
			fault(r, "it names the manifest %s, and the database %s", is.ManifestKey, r.ManifestKey)
		case is.ManifestSHA256 != r.ManifestSHA256:
			fault(r, "it says the manifest has the SHA-256 %x, and the database %x", is.ManifestSHA256, r.ManifestSHA256)
		}
	}
	for name, is := range says {
		f.add(Fault{
			Period: name, Revision: is.Revision, Kind: FaultCurrent, Place: placeCurrent,
			What: "it names the period, which the database does not know: an older copy of the database, or another one",
		})
	}
	return nil
}

// checkOrder checks that the newest revision of each period is the current one, and that each period begins where the one
// before ends.
func (v *Verify) checkOrder(all []BookedRevision, f *faults) {
	for i := range all {
		r := &all[i]
		last := i+1 == len(all) || all[i+1].Period.Start != r.Period.Start
		if r.Current != last && v.Chosen(r) {
			f.add(r.fault(FaultDatabase, "is_current is %t, but a period's newest revision is the current one", r.Current))
		}
		if i > 0 && all[i-1].Period.Start != r.Period.Start && all[i-1].Period.End != r.Period.Start && v.Chosen(r) {
			f.add(r.fault(FaultChain, "the period before it, %s, ends at %v and not where it starts, %v",
				all[i-1].Name, all[i-1].Period.End, r.Period.Start))
		}
	}
}

// fault is one in the database's row of a revision.
func (r *BookedRevision) fault(kind, format string, args ...any) Fault {
	return Fault{
		Period: r.Name, Revision: r.Revision, Kind: kind, Place: "database: revision " + fmt.Sprint(r.Revision) + " of " + r.Name,
		What: fmt.Sprintf(format, args...),
	}
}

// before gives the revisions of the period before, oldest first.
func before(all []BookedRevision, r *BookedRevision) []BookedRevision {
	end, _ := slices.BinarySearchFunc(all, r.Period.Start, func(b BookedRevision, t rating.Instant) int { return cmp.Compare(b.Period.Start, t) })
	start := end
	for start > 0 && all[start-1].Period.Start == all[end-1].Period.Start {
		start--
	}
	return all[start:end]
}

// HashOfShards is one hash of the hashes of all shards; none of them, no hash.
func HashOfShards(hashes [][32]byte) (sum [32]byte) {
	if len(hashes) == 0 {
		return sum
	}
	h := sha256.New()
	for i := range hashes {
		h.Write(hashes[i][:])
	}
	return [32]byte(h.Sum(nil))
}

// side runs tasks side by side, and gives the first error.
func side(ctx context.Context, workers, tasks int, do func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, tasks) {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= tasks {
					return
				}
				if err := do(ctx, n); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
