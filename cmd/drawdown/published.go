package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"drawdown/rating"
	"drawdown/writers/settlement"
)

// published is one settled period as its Parquet files tell it.
type published struct {
	name     string
	current  settlement.Current
	manifest *settlement.Manifest
	dir      string // of its files
}

// publishedPeriods gives the names of all settled periods with their current revisions.
func (c *Config) publishedPeriods() (map[string]settlement.Current, error) {
	out, err := settlement.OpenOutput(c.Output.URL)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	return out.ReadCurrent()
}

// openPublished reads the manifest of a settled period.
func (c *Config) openPublished(name string, current settlement.Current) (*published, error) {
	file := filepath.Join(c.Output.URL, filepath.FromSlash(current.Manifest))
	manifest, err := settlement.OpenManifest(file)
	if isMissing(err) {
		return nil, fmt.Errorf("the output has lost the manifest of period %s: %w; restore the folder from a copy", name, err)
	}
	if err != nil {
		return nil, err
	}
	return &published{name, current, manifest, filepath.Dir(file)}, nil
}

// latest gives the newest settled period that ends by an instant; nil where there is none.
func (c *Config) latest(by rating.Instant) (*published, error) {
	periods, err := c.publishedPeriods()
	if err != nil {
		return nil, err
	}
	names := keysOf(periods) // sorted by name is sorted by time
	for i := len(names) - 1; i >= 0; i-- {
		p, err := c.openPublished(names[i], periods[names[i]])
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

// files gives the paths of a table's files.
func (p *published) files(table string) []string {
	var files []string
	for _, f := range p.manifest.Files {
		if f.Table == table {
			files = append(files, filepath.Join(p.dir, filepath.FromSlash(path.Clean(f.Name))))
		}
	}
	return files
}

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
func (c *Config) settledBy(op string, by rating.Instant) (*published, error) {
	p, err := c.latest(by)
	if err != nil {
		return nil, &failure{op: op, err: err}
	}
	if p == nil {
		return nil, &failure{op: op, err: errNothingSettled, hint: "`drawdown settle` settles what is due; `drawdown runs` lists what was"}
	}
	return p, nil
}
