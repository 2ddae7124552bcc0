package jobs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"drawdown/rating"
)

// Resettle settles periods again, by the same code, from what they were settled from: the usage objects that their
// manifests name, the opening states that these name, the catalog that was kept, and the configuration, where that is what it was.
// It commits nothing.
type Resettle struct {
	ConfigSHA256 [32]byte
	Version      string // of this program
	// Job makes a job that reads usage as the run did, with the catalog that it used, and writes somewhere else. It fails
	// with ErrNoCatalog where that catalog was not kept, or is damaged.
	Job func(ctx context.Context, run int64, catalogSHA256 [32]byte) (*Settle, func() error, error)
	// Opening decodes a closing state.
	Opening func(ctx context.Context, c *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error)
	// Compare compares a settlement as it stands with the one that was made again.
	Compare func(ctx context.Context, job *Settle, stands, again string) ([]Differing, error)
}

// ErrNoCatalog says that there is no catalog to settle a period again with.
var ErrNoCatalog = errors.New("the catalog of the period cannot be used")

// Differing is a file that is another one when it is settled again.
type Differing struct {
	Name, What string
	SameRows   bool // only the bytes differ
}

// repeated is a revision that is settled again.
type repeated struct {
	*BookedRevision
	manifest *ArchivedManifest
	result   *VerifiedRevision
}

// run settles all revisions again that can be.
func (d *Resettle) run(ctx context.Context, chosen []*BookedRevision, manifests []*ArchivedManifest, result *Verification) error {
	for from := 0; from < len(chosen); {
		to := from + 1
		for to < len(chosen) && chosen[to].Run == chosen[from].Run && chosen[to].CatalogSHA256 == chosen[from].CatalogSHA256 {
			to++
		}
		var run []repeated
		for i := from; i < to; i++ {
			run = append(run, repeated{chosen[i], manifests[i], &result.Revisions[i]})
		}
		if err := d.again(ctx, run, result); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// again settles what one run settled.
func (d *Resettle) again(ctx context.Context, run []repeated, result *Verification) (err error) {
	job, closeJob, err := d.Job(ctx, run[0].Run, run[0].CatalogSHA256)
	if errors.Is(err, ErrNoCatalog) {
		for i := range run {
			run[i].result.Unrepeated = err.Error()
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeJob()) }()
	known, err := job.State.Objects(ctx)
	if err != nil {
		return fmt.Errorf("load remembered usage objects: %w", err)
	}
	listed, _, err := job.Bucket.List(ctx)
	if err != nil {
		return fmt.Errorf("list usage objects: %w", err)
	}
	objects := map[string]Object{}
	for _, o := range listed {
		objects[o.Key] = o
	}
	for i := range run {
		run[i].result.Unrepeated = d.whyNot(job, &run[i], objects, known)
	}
	var manifests []*ArchivedManifest
	for i := range run {
		if m := run[i].manifest; m != nil {
			manifests = append(manifests, m)
		}
	}
	most := job.atOnce(job.bookedLoads(manifests, nil, 0))
	for len(run) > 0 {
		n := 0
		for n < len(run) && n < most && run[n].result.Unrepeated == "" && (n == 0 || run[n-1].Period.End == run[n].Period.Start && run[n].manifest.Late == nil) {
			n++
		}
		if n == 0 {
			run = run[1:]
			continue
		}
		if err := d.batch(ctx, job, run[:n], objects, result); err != nil {
			return err
		}
		run = run[n:]
	}
	return nil
}

// whyNot says why a period cannot be settled again, as far as that shows beforehand.
func (d *Resettle) whyNot(job *Settle, r *repeated, objects map[string]Object, known map[string]Known) string {
	m := r.manifest
	switch {
	case m == nil:
		return "its manifest cannot be read"
	case m.ConfigSHA256 != d.ConfigSHA256:
		return "the configuration has changed since, in what decides about results"
	case m.CatalogSHA256 != job.CatalogSHA256:
		return "its manifest names another catalog than the database"
	}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		o, there := objects[in.Key]
		k, read := known[in.Key]
		switch {
		case !there:
			return "the usage object " + in.Key + " is gone"
		case o.Size != in.Size || read && k.Object == o && k.SHA256 != in.SHA256:
			return changedObject(in.Key)
		}
	}
	return ""
}

func changedObject(key string) string { return "the usage object " + key + " has changed since" }

// batch settles periods that follow each other. Where one fails, or its usage turns out to have changed, each is settled by
// itself: an object that changed may have rows of any of them now. So is what follows one that comes to something else,
// since each is held against what it was settled from.
func (d *Resettle) batch(ctx context.Context, job *Settle, batch []repeated, objects map[string]Object, result *Verification) error {
	kept := &keptOutput{Output: job.Output, revisions: map[string]*keptRevision{}}
	err := d.settle(ctx, job, batch, objects, kept)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), kept.discard())
	}
	rest, err := d.judge(ctx, job, batch, kept, err, result)
	if err = errors.Join(err, kept.discard()); err != nil {
		return err
	}
	for i := range rest {
		if rest[i].result.Unrepeated == "" {
			if err := d.batch(ctx, job, rest[i:i+1], objects, result); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge compares what a batch came to, and gives those periods that are to be settled by themselves.
func (d *Resettle) judge(
	ctx context.Context, job *Settle, batch []repeated, kept *keptOutput, failed error, result *Verification,
) (rest []repeated, err error) {
	switch {
	case failed != nil && len(batch) == 1:
		batch[0].result.Unrepeated = failed.Error()
		return nil, nil
	case failed != nil:
		return batch, nil
	}
	changed := false
	for i := range batch {
		batch[i].result.Unrepeated = kept.revisions[batch[i].Name].changedInput(batch[i].manifest)
		changed = changed || batch[i].result.Unrepeated != ""
	}
	switch {
	case changed && len(batch) == 1:
		return nil, nil
	case changed:
		return batch, nil
	}
	for i := range batch {
		same, err := d.compare(ctx, job, &batch[i], kept.revisions[batch[i].Name].key, result)
		if err != nil || !same {
			return batch[i+1:], err
		}
	}
	return nil, nil
}

// settle settles a batch as its run did: the same objects, from the same state.
func (d *Resettle) settle(ctx context.Context, job *Settle, batch []repeated, objects map[string]Object, out Output) error {
	again := *job
	again.DryRun, again.MaxQuarantinePercent, again.Output = true, 100*1e9, out
	run := &work{only: rating.None, stages: &stages{}, home: batch[len(batch)-1].Period.Start}
	inputs := map[string]bool{}
	for i := range batch {
		r := &batch[i]
		run.periods = append(run.periods, PeriodReport{
			Period: r.Period, Name: r.Name, Revision: r.Revision, Notices: map[string]int{}, Quarantined: map[string]int64{},
		})
		for n := range r.manifest.Inputs {
			inputs[r.manifest.Inputs[n].Key] = true
		}
	}
	bucket := fixedBucket{Bucket: job.Bucket}
	for _, key := range slices.Sorted(maps.Keys(inputs)) {
		bucket.objects = append(bucket.objects, objects[key])
	}
	again.Bucket = bucket
	first := batch[0].manifest
	if first.PreviousSHA256 != [32]byte{} {
		run.opening = &Settled{Period: rating.Period{End: first.Period.Start}, ManifestSHA256: first.PreviousSHA256}
		again.State = &openedState{State: job.State, opening: first.OpeningSHA256, decode: d.Opening}
	}
	if first.Late != nil {
		var err error
		if run.late, err = again.lateAgain(ctx, first.Period, first.Late, objects); err != nil {
			return err
		}
	}
	g, err := again.gather(ctx, run)
	if err != nil {
		return err
	}
	return errors.Join(again.compute(ctx, run, g), g.close())
}

// compare compares a period with what it came to when it was settled again; true: every byte is the same.
func (d *Resettle) compare(ctx context.Context, job *Settle, r *repeated, again string, result *Verification) (same bool, err error) {
	list, err := d.Compare(ctx, job, r.ManifestKey, again)
	if err != nil {
		return false, err
	}
	r.result.Repeated = true
	for _, differs := range list {
		if differs.SameRows && r.RunVersion != d.Version {
			r.result.Repeated = false
			r.result.Unrepeated = fmt.Sprintf("drawdown %s wrote it, and this is %s: the rows are the same, but the bytes of %s are not",
				r.RunVersion, d.Version, differs.Name)
			continue
		}
		r.result.Faults++
		result.Faults = append(result.Faults, Fault{
			Period: r.Name, Revision: r.Revision, Kind: FaultDeep, Place: r.Folder + "/" + differs.Name, What: differs.What,
		})
	}
	return len(list) == 0, nil
}

// openedState is a state whose last period left what is given.
type openedState struct {
	State
	opening [][32]byte
	decode  func(ctx context.Context, c *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error)
}

func (s *openedState) Opening(ctx context.Context, c *rating.Catalog, shard int) ([]rating.PayerState, [32]byte, error) {
	if shard >= len(s.opening) {
		return nil, [32]byte{}, fmt.Errorf("the manifest has %d opening states, and none of shard %d", len(s.opening), shard)
	}
	states, err := s.decode(ctx, c, s.opening[shard])
	return states, s.opening[shard], err
}

// keptOutput keeps revisions that are not committed, to be compared.
type keptOutput struct {
	Output
	revisions map[string]*keptRevision
}

type keptRevision struct {
	Revision
	key    string
	inputs []Input
}

// discard removes what was compared.
func (o *keptOutput) discard() (err error) {
	for _, r := range o.revisions {
		err = errors.Join(err, r.Revision.Discard())
	}
	return err
}

func (o *keptOutput) Create(period rating.Period, name string, revision int, objects []string) (Revision, error) {
	r, err := o.Output.Create(period, name, revision, objects)
	if err != nil {
		return nil, err
	}
	o.revisions[name] = &keptRevision{Revision: r}
	return o.revisions[name], nil
}

func (r *keptRevision) Finish(ctx context.Context, m *Manifest, quarantine iter.Seq2[Rejection, error]) (key string, sha256 [32]byte, err error) {
	r.inputs = m.Inputs
	r.key, sha256, err = r.Revision.Finish(ctx, m, quarantine)
	return r.key, sha256, err
}

func (r *keptRevision) Discard() error { return nil }

// changedInput says which usage object was read as another one than it was.
func (r *keptRevision) changedInput(m *ArchivedManifest) string {
	were := map[string][32]byte{}
	for i := range m.Inputs {
		were[m.Inputs[i].Key] = m.Inputs[i].SHA256
	}
	for i := range r.inputs {
		if was, ok := were[r.inputs[i].Key]; ok && was != r.inputs[i].SHA256 {
			return changedObject(r.inputs[i].Key)
		}
	}
	return ""
}
