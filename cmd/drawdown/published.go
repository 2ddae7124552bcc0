package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"drawdown/rating"
	"drawdown/readers/bucket"
	"drawdown/writers/settlement"
)

// published is one settled period as its Parquet files tell it.
type published struct {
	name     string
	current  settlement.Current
	manifest *settlement.Manifest
	output   *settlement.Output
	dir      string // of its files, in the output
}

// openOutput opens output.url. The context is that of all that is done there.
func (c *Config) openOutput(ctx context.Context, memory byteSize) (*settlement.Output, error) {
	if !isRemote(c.Output.URL) {
		return settlement.OpenOutput(c.Output.URL)
	}
	address, err := bucket.Parse(c.Output.URL)
	if err != nil {
		return nil, err
	}
	return settlement.OpenBucket(ctx, address, bucket.Settings{Memory: int64(memory) / 32, TempDir: c.TempDir})
}

// openPublished reads the manifest of a settled period.
func openPublished(out *settlement.Output, name string, current settlement.Current) (*published, error) {
	manifest, _, err := out.ReadManifest(current.Manifest)
	if isMissing(err) {
		return nil, fmt.Errorf("the output has lost the manifest of period %s: %w; restore the folder from a copy", name, err)
	}
	if err != nil {
		return nil, err
	}
	return &published{name, current, manifest, out, path.Dir(current.Manifest)}, nil
}

// latest gives the newest settled period that ends by an instant; nil where there is none.
func latest(out *settlement.Output, by rating.Instant) (*published, error) {
	periods, err := out.ReadCurrent()
	if err != nil {
		return nil, err
	}
	names := keysOf(periods) // sorted by name is sorted by time
	for i := len(names) - 1; i >= 0; i-- {
		p, err := openPublished(out, names[i], periods[names[i]])
		if err != nil {
			return nil, err
		}
		if p.end() <= by {
			return p, nil
		}
	}
	return nil, nil
}

func (p *published) end() rating.Instant {
	at, _ := rating.ParseInstant([]byte(p.manifest.Period.End)) // the manifest was checked when it was read
	return at
}

// files gives a table's files.
func (p *published) files(table string) []settlement.Source {
	var files []settlement.Source
	for _, f := range p.manifest.Files {
		if f.Table == table {
			files = append(files, p.file(f.Name))
		}
	}
	return files
}

// besides leaves out the files that another revision has, too.
func (p *published) besides(other *published) *published {
	has := map[string]bool{}
	for _, f := range other.manifest.Files {
		has[f.Name+f.SHA256.String()] = true
	}
	own, manifest := *p, *p.manifest
	own.manifest, manifest.Files = &manifest, nil
	for _, f := range p.manifest.Files {
		if !has[f.Name+f.SHA256.String()] {
			manifest.Files = append(manifest.Files, f)
		}
	}
	return &own
}

func (p *published) file(name string) settlement.Source { return p.output.File(path.Join(p.dir, name)) }

// balances gives the rows of balances.
func (p *published) balances() ([]settlement.Balance, error) {
	var rows []settlement.Balance
	for _, file := range p.files("balances") {
		for row, err := range settlement.ReadBalances(file) {
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// errNothingSettled is where the output holds nothing to show.
var errNothingSettled = errors.New("output.url holds no period settled by then")

// settledBy gives the newest period settled by an instant, or says that there is none.
func settledBy(out *settlement.Output, op string, by rating.Instant) (*published, error) {
	p, err := latest(out, by)
	if err != nil {
		return nil, &failure{op: op, err: err}
	}
	if p == nil {
		return nil, &failure{op: op, err: errNothingSettled, hint: "`drawdown settle` settles what is due; `drawdown runs` lists what was"}
	}
	return p, nil
}
