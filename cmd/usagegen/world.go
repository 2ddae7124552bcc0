package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// options are the flags: all that a world depends on.
type options struct {
	Records         int64  `json:"records"`
	Accounts        int    `json:"accounts"`
	Format          string `json:"format"`
	Seed            uint64 `json:"seed"`
	Out             string `json:"-"`
	PackagesPerPair int    `json:"packages_per_pair"`
	PackagedPercent int    `json:"packaged_percent"`
	OnePair         int    `json:"one_pair"`
	Days            int    `json:"days"`
	Objects         int    `json:"objects"`
	Notices         bool   `json:"notices"`
}

func (o *options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("what is %q? there are only flags", rest[0])
	}
	if o.OnePair > 0 {
		o.Accounts = 1
	}
	if o.Objects == 0 {
		o.Objects = o.Days
	}
	switch {
	case o.Out == "":
		return errors.New("--out is missing: the folder to write to")
	case o.Records < 1 || o.Records > 1e10:
		return errors.New("--records must be 1 to 10,000,000,000")
	case o.Accounts < 1 || o.Accounts > 10_000_000:
		return errors.New("--accounts must be 1 to 10,000,000")
	case o.PackagesPerPair < 1 || o.PackagesPerPair > 100:
		return errors.New("--packages-per-pair must be 1 to 100")
	case o.PackagedPercent < 0 || o.PackagedPercent > 100:
		return errors.New("--packaged-percent must be 0 to 100")
	case o.OnePair < 0 || o.OnePair > 1_000_000:
		return errors.New("--one-pair must be 1 to 1,000,000, or 0 for a world of many")
	case o.Days < 1 || o.Days > 31:
		return errors.New("--days must be 1 to 31: a world is settled as one month")
	case o.Objects < 1 || o.Objects > 100_000:
		return errors.New("--objects must be 1 to 100,000")
	}
	_, err := parseFormat(o.Format)
	return err
}

// summary is what world.json says of a finished world.
type summary struct {
	options
	Duplicates    int64  `json:"duplicates"`
	Late          int64  `json:"late"`
	Pairs         int    `json:"pairs"`
	PackagedPairs int    `json:"packaged_pairs"`
	Packages      int    `json:"packages"`
	Now           string `json:"now"` // the clock at which the month is settled
}

// The month that every world is of.
var (
	monthStart = time.Date(2026, time.October, 1, 0, 0, 0, 0, time.UTC)
	monthEnd   = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
)

// meter is one of the world's meters. Shares are sixteenths; prices are in quarters of a currency unit.
type meter struct {
	id, unit string
	share    uint64
	quarters int
}

const shareSum = 16

// Quantities are in units of 10^-6, and all are multiples of this, so that one times a quarter has six decimals.
const quantum = 4

// meanQuantity is the mean of what [stream.quantity] draws, in units of 10^-6.
const meanQuantity = quantum * (1<<23 - 1<<13) / 10

// world is a checked set of options with what is derived from them once.
type world struct {
	*options
	meters   []meter
	accounts []string // by rank: the first one uses most
	weights  []uint64 // by rank
	weight   uint64   // their sum
	sampler  sampler
}

func newWorld(o *options) *world {
	w := &world{options: o, meters: []meter{
		{"compute", "vCPU hour", 5, 1},
		{"storage", "GB month", 4, 2},
		{"egress", "GB", 3, 3},
		{"tokens", "1000 tokens", 2, 5},
		{"build", "minute", 2, 8},
	}}
	if o.OnePair > 0 {
		w.meters = []meter{{"compute", "vCPU hour", shareSum, 1}}
	}
	// Names do not follow ranks: heavy accounts stand all over the alphabet.
	n := uint64(o.Accounts)
	step := 2654435761 % n
	for gcd(step, n) != 1 {
		step++
	}
	w.accounts = make([]string, n)
	w.weights = make([]uint64, n)
	for rank := range n {
		w.accounts[rank] = fmt.Sprintf("acct-%07d", (rank*step+n/2)%n)
		w.weights[rank] = 1 << 32 / (rank + 1)
		w.weight += w.weights[rank]
	}
	w.sampler = newSampler(w.weights, w.weight)
	return w
}

// expected is the quantity that the records of an account and a meter come to on average.
func (w *world) expected(rank int, m meter) uint64 {
	return mulDiv(mulDiv(uint64(w.Records)*meanQuantity, w.weights[rank], w.weight), m.share, shareSum)
}

// source is a stream of random numbers of its own for each part of a world, so that parts can be made side by side.
func (w *world) source(part string, number int) *rand.ChaCha8 {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], w.Seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(number))
	copy(seed[16:], part)
	return rand.NewChaCha8(seed)
}

func generate(o *options) (*summary, error) {
	if _, err := os.Stat(filepath.Join(o.Out, "usage")); err == nil {
		return nil, fmt.Errorf("%s holds a world already: remove it or name another folder with --out", o.Out)
	}
	for _, dir := range []string{"usage", "catalog"} {
		if err := os.MkdirAll(filepath.Join(o.Out, dir), 0o777); err != nil {
			return nil, err
		}
	}
	w := newWorld(o)
	s := &summary{options: *o, Now: monthEnd.Add(time.Hour).Format(time.RFC3339), Pairs: len(w.accounts) * len(w.meters)}
	if err := w.writeCatalog(s); err != nil {
		return nil, err
	}
	if err := w.writeUsage(s); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(filepath.Join(o.Out, "world.json"), append(text, '\n'), 0o666)
}

// writeUsage makes the objects, as many at a time as there are cores.
func (w *world) writeUsage(s *summary) error {
	type outcome struct {
		duplicates, late int64
		err              error
	}
	outcomes := make(chan outcome)
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	go func() {
		for object := range w.Objects {
			slots <- struct{}{}
			go func() {
				st := w.newStream(object)
				err := w.writeObject(st)
				outcomes <- outcome{st.duplicates, st.late, err}
				<-slots
			}()
		}
	}()
	var errs []error
	for range w.Objects {
		o := <-outcomes
		s.Duplicates += o.duplicates
		s.Late += o.late
		errs = append(errs, o.err)
	}
	return errors.Join(errs...)
}

// format is how usage objects are written.
type format struct {
	base, compression string
}

func parseFormat(text string) (format, error) {
	base, compression, _ := strings.Cut(text, ".")
	f := format{base, compression}
	switch {
	case f == format{"parquet", ""}:
	case (base == "ndjson" || base == "csv") && (compression == "" || compression == "gz" || compression == "zst"):
	default:
		return f, fmt.Errorf("--format %s is not known: parquet, ndjson or csv; the text formats also with .gz or .zst", text)
	}
	return f, nil
}

// mulDiv is a*b/c, rounded down; the result must fit.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	quotient, _ := bits.Div64(hi, lo, c)
	return quotient
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
