package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"drawdown/jobs"
	"drawdown/rating"
)

// faults is told of everything that a job does to the outside, by the name of the place, once it is done or as a step of
// a commit. Its error makes the job fail there.
type faults func(place string) error

// failAt does something at one place, which names say that a person can read: "create 2026-10-24", "sync", store.StepSums.
func failAt(place string, do func() error) func(*jobs.Settle) {
	return faults(func(at string) error {
		if at == place {
			return do()
		}
		return nil
	}).tamper
}

func (f faults) tamper(job *jobs.Settle) {
	job.Bucket, job.Reader, job.State = faultyBucket{job.Bucket, f}, faultyReader{job.Reader, f}, faultyState{job.State, f}
	job.Output, job.Ledger = faultyOutput{job.Output, f}, faultyLedger{job.Ledger, f}
	if l, ok := job.Ledger.(faultyLedger).Ledger.(*ledger); ok {
		l.hook = f
	}
}

type faultyBucket struct {
	jobs.Bucket
	faults
}

func (f faultyBucket) List(ctx context.Context) ([]jobs.Object, []string, error) {
	objects, ignored, err := f.Bucket.List(ctx)
	return objects, ignored, errors.Join(err, f.faults("list"))
}

type faultyReader struct {
	jobs.Reader
	faults
}

func (f faultyReader) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	summary, err := f.Reader.Read(ctx, o, sink)
	return summary, errors.Join(err, f.faults("read "+o.Key))
}

func (f faultyReader) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	return errors.Join(f.Reader.Select(ctx, o, accounts, sink), f.faults("select of "+o.Key))
}

func (f faultyReader) Raw(ctx context.Context, o jobs.Object, rows []int64) (map[int64][]byte, error) {
	raw, err := f.Reader.Raw(ctx, o, rows)
	return raw, errors.Join(err, f.faults("read again "+o.Key))
}

type faultyState struct {
	jobs.State
	faults
}

func (f faultyState) Last(ctx context.Context) (*jobs.Settled, error) {
	last, err := f.State.Last(ctx)
	return last, errors.Join(err, f.faults("last period"))
}

func (f faultyState) Objects(ctx context.Context) (map[string]jobs.Known, error) {
	objects, err := f.State.Objects(ctx)
	return objects, errors.Join(err, f.faults("known objects"))
}

func (f faultyState) Opening(ctx context.Context, c *rating.Catalog, shard int) ([]rating.PayerState, [32]byte, error) {
	states, sha256, err := f.State.Opening(ctx, c, shard)
	return states, sha256, errors.Join(err, f.faults(fmt.Sprintf("opening %d", shard)))
}

type faultyLedger struct {
	jobs.Ledger
	faults
}

func (f faultyLedger) Current(ctx context.Context) (map[string]jobs.Current, error) {
	current, err := f.Ledger.Current(ctx)
	return current, errors.Join(err, f.faults("current"))
}

type faultyOutput struct {
	jobs.Output
	faults
}

func (f faultyOutput) Create(period rating.Period, name string, revision int, objects []string) (jobs.Revision, error) {
	r, err := f.Output.Create(period, name, revision, objects)
	if err := errors.Join(err, f.faults("create "+name)); err != nil {
		return nil, err
	}
	return faultyRevision{r, f.faults, name}, nil
}

func (f faultyOutput) Sync(ctx context.Context) error {
	return errors.Join(f.Output.Sync(ctx), f.faults("sync"))
}

func (f faultyOutput) Publish(ctx context.Context, current map[string]jobs.Current) error {
	if err := f.faults("publish"); err != nil {
		return err
	}
	return errors.Join(f.Output.Publish(ctx, current), f.faults("published"))
}

type faultyRevision struct {
	jobs.Revision
	faults
	name string
}

func (f faultyRevision) Shard(number int, c *rating.Catalog) jobs.Shard {
	return faultyShard{f.Revision.Shard(number, c), f.faults, fmt.Sprintf("%s %d", f.name, number)}
}

func (f faultyRevision) TakeOver(ctx context.Context, p *jobs.StandingPeriod, shards []bool) (*jobs.TakenOver, error) {
	taken, err := f.Revision.TakeOver(ctx, p, shards)
	return taken, errors.Join(err, f.faults("take over "+f.name))
}

func (f faultyRevision) Finish(ctx context.Context, m *jobs.Manifest, rows iter.Seq2[jobs.Rejection, error]) (string, [32]byte, error) {
	key, sha256, err := f.Revision.Finish(ctx, m, rows)
	return key, sha256, errors.Join(err, f.faults("finish "+f.name))
}

func (f faultyRevision) Discard() error {
	return errors.Join(f.Revision.Discard(), f.faults("discard "+f.name))
}

type faultyShard struct {
	jobs.Shard
	faults
	name string
}

func (f faultyShard) Append(payer int32, result *rating.Result) error {
	return errors.Join(f.Shard.Append(payer, result), f.faults("append "+f.name))
}

func (f faultyShard) Close() error { return errors.Join(f.Shard.Close(), f.faults("close "+f.name)) }
