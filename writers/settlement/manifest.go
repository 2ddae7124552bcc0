package settlement

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"drawdown/rating"
)

const (
	formatVersion = 1
	program       = "drawdown"
	manifestName  = "manifest.json"
	currentName   = "current.json"
)

// Hash is a SHA-256, written in hexadecimal digits; nil is none, written as an empty string.
type Hash []byte

func (h Hash) String() string { return hex.EncodeToString(h) }

// MarshalText writes hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	if err == nil && len(*h) != 0 && len(*h) != sha256.Size {
		err = fmt.Errorf("%q is no SHA-256", text)
	}
	return err
}

// Decimal is an exact decimal of nine decimals at most, written as a string.
type Decimal rating.Amount

func (d Decimal) String() string { return rating.Amount(d).String() }

// MarshalText writes the decimal without trailing zeros.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Decimal) UnmarshalText(text []byte) error {
	a, err := parseAmount(string(text))
	*d = Decimal(a)
	return err
}

// parseAmount reads a decimal of nine decimals at most.
func parseAmount(text string) (rating.Amount, error) {
	fail := fmt.Errorf("%q is no decimal with nine decimals at most", text)
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if len(whole) == 0 || len(whole) > 29 || len(fraction) > 9 || point && fraction == "" {
		return rating.Amount{}, fail
	}
	var a rating.Amount
	for _, c := range []byte(whole + (fraction + "000000000")[:9]) {
		if c < '0' || c > '9' {
			return rating.Amount{}, fail
		}
		double := sum(a, a)
		a = sum(sum(sum(double, double), sum(double, double)), sum(double, rating.AmountOf(int64(c-'0'))))
	}
	if negative {
		a, _ = rating.Amount{}.Sub(a)
	}
	return a, nil
}

// Manifest says what a revision was made of, what it consists of, and what it adds up to. Nothing in it depends on when,
// where or by whom it was made.
type Manifest struct {
	FormatVersion          int            `json:"format_version"`
	Program                string         `json:"program"`
	Site                   string         `json:"site"`
	Period                 ManifestPeriod `json:"period"`
	Revision               int            `json:"revision"`
	Inputs                 []Input        `json:"inputs"`
	ConfigSHA256           Hash           `json:"config_sha256"`
	CatalogSHA256          Hash           `json:"catalog_sha256"`
	OpeningSHA256          []Hash         `json:"opening_sha256"` // by shard
	ClosingSHA256          []Hash         `json:"closing_sha256"`
	Files                  []File         `json:"files"`
	Totals                 Totals         `json:"totals"`
	Late                   *Late          `json:"late,omitempty"` // absent: nothing of closed periods was settled
	PreviousManifestSHA256 Hash           `json:"previous_manifest_sha256"`
}

// ManifestPeriod names the period.
type ManifestPeriod struct {
	Name     string `json:"name"`
	Start    string `json:"start"` // RFC 3339
	End      string `json:"end"`
	TimeZone string `json:"time_zone"`
}

// Rows counts what became of rows: Read = Settled + Duplicate + Superseded + Quarantined + OutOfPeriod (R4.6).
type Rows struct {
	Read        int64 `json:"read"`
	Settled     int64 `json:"settled"`
	Duplicate   int64 `json:"duplicate"`
	Superseded  int64 `json:"superseded"`
	Quarantined int64 `json:"quarantined"`
	OutOfPeriod int64 `json:"out_of_period"`
}

func (r Rows) balanced() bool {
	for _, n := range [...]int64{r.Read, r.Settled, r.Duplicate, r.Superseded, r.Quarantined, r.OutOfPeriod} {
		if n < 0 {
			return false
		}
	}
	return r.Read == r.Settled+r.Duplicate+r.Superseded+r.Quarantined+r.OutOfPeriod
}

func (r Rows) plus(s Rows) Rows {
	return Rows{
		r.Read + s.Read, r.Settled + s.Settled, r.Duplicate + s.Duplicate, r.Superseded + s.Superseded,
		r.Quarantined + s.Quarantined, r.OutOfPeriod + s.OutOfPeriod,
	}
}

// Input is a usage object that was read.
type Input struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 Hash   `json:"sha256"`
	Rows   Rows   `json:"rows"`
	// First and Last are the earliest and the latest event time in it, RFC 3339; empty without any.
	First             string `json:"first"`
	Last              string `json:"last"`
	ProbableDuplicate int64  `json:"probable_duplicate"`
}

// File is a Parquet file of the revision; its name is relative to the manifest's folder.
type File struct {
	Name   string `json:"name"`
	Table  string `json:"table"`
	Shard  int    `json:"shard"`
	Rows   int64  `json:"rows"`
	Size   int64  `json:"size"`
	SHA256 Hash   `json:"sha256"`
}

// Totals are the control totals (R4.6) and what was charged.
type Totals struct {
	Rows    Rows            `json:"rows"`
	Meters  []MeterTotal    `json:"meters"`  // by id
	Amounts []CurrencyTotal `json:"amounts"` // by currency
}

// Late is what the revision settled of closed periods (R5.5): a part of its totals, and of its inputs' rows.
type Late struct {
	Rows    LateRows        `json:"rows"`
	Meters  []MeterTotal    `json:"meters"`  // by id
	Amounts []CurrencyTotal `json:"amounts"` // by currency
	Objects []string        `json:"objects"` // inputs that have such rows, by key
	Beside  []Beside        `json:"beside"`  // by key
}

// LateRows counts what became of rows of closed periods.
type LateRows struct {
	Settled     int64 `json:"settled"`
	Duplicate   int64 `json:"duplicate"`
	Superseded  int64 `json:"superseded"`
	Quarantined int64 `json:"quarantined"`
}

// Beside is an object that closed periods were settled from, and that late usage was compared with.
type Beside struct {
	Key    string `json:"key"`
	SHA256 Hash   `json:"sha256"`
}

// MeterTotal is what became of a meter's units: Settled = Deducted + Excess + Stopped.
type MeterTotal struct {
	Meter    string  `json:"meter"`
	Settled  Decimal `json:"settled"`
	Deducted Decimal `json:"deducted"`
	Excess   Decimal `json:"excess"`
	Stopped  Decimal `json:"stopped"`
}

// CurrencyTotal is what was charged in one currency.
type CurrencyTotal struct {
	Currency string  `json:"currency"`
	Amount   Decimal `json:"amount"`
}

// Validate checks the control totals (R4.6), by object, by meter and overall, and the order of the lists. It gives all
// that is wrong.
func (m *Manifest) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("R4.6: "+format, args...)) }
	var all Rows
	for i, in := range m.Inputs {
		if !in.Rows.balanced() {
			fault("rows of %s do not balance: %+v", in.Key, in.Rows)
		}
		if i > 0 && m.Inputs[i-1].Key >= in.Key {
			fault("input %s comes after its place", in.Key)
		}
		all = all.plus(in.Rows)
	}
	if all != m.Totals.Rows {
		fault("rows of all objects are %+v, but the totals say %+v", all, m.Totals.Rows)
	}
	if m.Late != nil {
		faults = append(faults, m.validateLate()...)
	}
	for i, t := range m.Totals.Meters {
		parts := sum(sum(rating.Amount(t.Deducted), rating.Amount(t.Excess)), rating.Amount(t.Stopped))
		if parts != rating.Amount(t.Settled) {
			fault("meter %s: settled %s is not deducted %s + excess %s + stopped %s",
				t.Meter, t.Settled, t.Deducted, t.Excess, t.Stopped)
		}
		if i > 0 && m.Totals.Meters[i-1].Meter >= t.Meter {
			fault("meter %s comes after its place", t.Meter)
		}
	}
	for i, t := range m.Totals.Amounts {
		if i > 0 && m.Totals.Amounts[i-1].Currency >= t.Currency {
			fault("currency %s comes after its place", t.Currency)
		}
	}
	return errors.Join(faults...)
}

// validateLate checks that what came late is a part of the whole.
func (m *Manifest) validateLate() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("R4.6: "+format, args...)) }
	l, all := m.Late, m.Totals.Rows
	if l.Rows.Settled > all.Settled || l.Rows.Duplicate > all.Duplicate || l.Rows.Superseded > all.Superseded ||
		l.Rows.Quarantined > all.Quarantined || min(l.Rows.Settled, l.Rows.Duplicate, l.Rows.Superseded, l.Rows.Quarantined) < 0 {
		fault("late rows %+v are no part of %+v", l.Rows, all)
	}
	for i, t := range l.Meters {
		parts := sum(sum(rating.Amount(t.Deducted), rating.Amount(t.Excess)), rating.Amount(t.Stopped))
		if parts != rating.Amount(t.Settled) {
			fault("meter %s: late settled %s is not deducted %s + excess %s + stopped %s", t.Meter, t.Settled, t.Deducted, t.Excess, t.Stopped)
		}
		if i > 0 && l.Meters[i-1].Meter >= t.Meter {
			fault("late meter %s comes after its place", t.Meter)
		}
	}
	for _, key := range l.Objects {
		if !slices.ContainsFunc(m.Inputs, func(in Input) bool { return in.Key == key }) {
			fault("late rows are of %s, which is no input", key)
		}
	}
	return faults
}

// canonical gives the one way in which a value is written: fields in their order, two blanks per level, a line feed last.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

func decodeStrictly(content []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the end")
	}
	return nil
}

// Finish writes the manifest, the last file of a revision. Files, format version, program, and the period's name and
// bounds are filled in here; the rest is m's. What [Revision.Check] read back must have confirmed the files, and must
// agree with m's totals. It gives the manifest's path in the output, and its hash.
func (r *Revision) Finish(m Manifest) (key string, sha [sha256.Size]byte, err error) {
	key = path.Join(r.dir, manifestName)
	if !r.checked {
		return "", sha, fmt.Errorf("write %s: its files have not been checked", key)
	}
	r.fillIn(&m)
	if err := errors.Join(m.Validate(), r.compareTotals(&m)); err != nil {
		return "", sha, fmt.Errorf("write %s: %w", key, err)
	}
	content, err := canonical(m)
	if err == nil {
		err = writeFile(r.output.storage, key, content)
	}
	if err != nil {
		return "", sha, fmt.Errorf("write %s: %w", key, err)
	}
	sha = sha256.Sum256(content)
	r.output.manifests.put(sha, &m, len(content))
	return key, sha, nil
}

// fillIn says in a manifest what the revision knows by itself.
func (r *Revision) fillIn(m *Manifest) {
	m.FormatVersion, m.Program, m.Revision = formatVersion, program, r.revision
	m.Period.Name, m.Period.Start, m.Period.End = r.name, r.period.Start.String(), r.period.End.String()
	m.Files = make([]File, 0, len(r.written))
	for i := range r.written {
		m.Files = append(m.Files, r.written[i].File)
	}
	m.noNulls()
}

// ComesTo tells whether the revision, with what a manifest is going to say of it, comes to what another manifest says: the
// same files, totals and states, whoever wrote them and from what. An object may have come that has rows of other periods
// alone. The files must have been checked.
func (r *Revision) ComesTo(m Manifest, standing *Manifest) bool {
	r.fillIn(&m)
	is, was := m.Totals, standing.Totals
	for _, totals := range []*Totals{&is, &was} {
		totals.Rows.Read, totals.Rows.OutOfPeriod = 0, 0
	}
	return r.checked && reflect.DeepEqual(m.Files, standing.Files) && reflect.DeepEqual(is, was) && reflect.DeepEqual(m.Late, standing.Late) &&
		reflect.DeepEqual(m.OpeningSHA256, standing.OpeningSHA256) && reflect.DeepEqual(m.ClosingSHA256, standing.ClosingSHA256)
}

// noNulls writes empty lists as such.
func (m *Manifest) noNulls() {
	if m.Inputs == nil {
		m.Inputs = []Input{}
	}
	if m.OpeningSHA256 == nil {
		m.OpeningSHA256 = []Hash{}
	}
	if m.ClosingSHA256 == nil {
		m.ClosingSHA256 = []Hash{}
	}
	if l := m.Late; l != nil {
		l.Meters, l.Amounts = append([]MeterTotal{}, l.Meters...), append([]CurrencyTotal{}, l.Amounts...)
		l.Objects, l.Beside = append([]string{}, l.Objects...), append([]Beside{}, l.Beside...)
	}
	if m.Totals.Meters == nil {
		m.Totals.Meters = []MeterTotal{}
	}
	if m.Totals.Amounts == nil {
		m.Totals.Amounts = []CurrencyTotal{}
	}
}

// compareTotals holds the manifest's totals against what stands in the files.
func (r *Revision) compareTotals(m *Manifest) error {
	all := newTally(r.names)
	var quarantined int64
	for i := range r.written {
		if w := &r.written[i]; w.table == tableLines && w.tally != nil {
			all.plus(w.tally)
		} else if w.table == tableQuarantine {
			quarantined += w.Rows
		}
	}
	sums := all.sums(r.names)
	if r.taken != nil {
		sums.Add(r.taken)
	}
	faults := sums.differ(m)
	if quarantined != m.Totals.Rows.Quarantined {
		faults = append(faults, errQuarantine(quarantined, m.Totals.Rows.Quarantined))
	}
	for _, t := range m.Totals.Meters {
		if _, known := sums.Meters[t.Meter]; !known {
			faults = append(faults, fmt.Errorf("the totals have a meter %q that is not in the catalog", t.Meter))
		}
	}
	for _, t := range m.Totals.Amounts {
		if _, known := sums.Amounts[t.Currency]; !known {
			faults = append(faults, fmt.Errorf("the totals have a currency %q that is not in the catalog", t.Currency))
		}
	}
	return errors.Join(faults...)
}

// OpenManifest reads a manifest and checks that it is whole: written as this program writes it, and balanced.
func OpenManifest(file string) (*Manifest, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(content)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", file, err)
	}
	return m, nil
}

// ReadFile reads a file of the output whole.
func (o *Output) ReadFile(name string) ([]byte, error) { return readFile(o.storage, name) }

// ReadManifest reads a manifest of the output, and gives its hash. The same bytes are not decoded time and again: nobody may
// change what it gives.
func (o *Output) ReadManifest(key string) (m *Manifest, sha [sha256.Size]byte, err error) {
	content, err := o.ReadFile(key)
	if err != nil {
		return nil, sha, err
	}
	sha = sha256.Sum256(content)
	if m = o.manifests.get(sha); m != nil {
		return m, sha, nil
	}
	if m, err = parseManifest(content); err != nil {
		return nil, sha, fmt.Errorf("read manifest %s: %w", o.File(key), err)
	}
	o.manifests.put(sha, m, len(content))
	return m, sha, nil
}

// manifests are some that were read or written lately, by their hashes.
type manifests struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*Manifest
	bytes int
}

const manifestBytes = 16 << 20 // of those that are kept

func (c *manifests) get(sha [sha256.Size]byte) *Manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[sha]
}

func (c *manifests) put(sha [sha256.Size]byte, m *Manifest, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes += bytes; c.known == nil || c.bytes > manifestBytes {
		c.known, c.bytes = map[[sha256.Size]byte]*Manifest{}, bytes
	}
	c.known[sha] = m
}

// parseManifest is [OpenManifest] for the content of one.
func parseManifest(content []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := decodeStrictly(content, m); err != nil {
		return nil, err
	}
	if m.FormatVersion != formatVersion || m.Program != program {
		return nil, fmt.Errorf("it is of %s, format version %d; this program reads %s, version %d",
			m.Program, m.FormatVersion, program, formatVersion)
	}
	again, err := canonical(m)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, content) {
		return nil, errors.New("it is not written the canonical way, so something changed it")
	}
	return m, m.Validate()
}

// Current is the revision of a period that counts.
type Current struct {
	Revision int
	Manifest string // its path in the output
	SHA256   Hash   // of the manifest
}

type currentFile struct {
	FormatVersion int             `json:"format_version"`
	Program       string          `json:"program"`
	Periods       []currentPeriod `json:"periods"`
}

type currentPeriod struct {
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	Manifest string `json:"manifest"`
	SHA256   Hash   `json:"sha256"`
}

// SetCurrent puts current.json in place: all periods by name, each with its current revision. It is a copy of what the
// database says, for readers without one, and may be written again at any time.
func (o *Output) SetCurrent(periods map[string]Current) error {
	file := currentFile{FormatVersion: formatVersion, Program: program, Periods: []currentPeriod{}}
	for _, name := range slices.Sorted(maps.Keys(periods)) {
		c := periods[name]
		file.Periods = append(file.Periods, currentPeriod{name, c.Revision, c.Manifest, c.SHA256})
	}
	content, err := canonical(file)
	if err == nil {
		err = o.storage.replace(currentName, content)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", currentName, err)
	}
	return nil
}

// ReadCurrent reads current.json; without one there is nothing current.
func (o *Output) ReadCurrent() (map[string]Current, error) {
	content, err := readFile(o.storage, currentName)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Current{}, nil
	}
	var file currentFile
	if err == nil {
		err = decodeStrictly(content, &file)
	}
	if err == nil && (file.FormatVersion != formatVersion || file.Program != program) {
		err = fmt.Errorf("it is of %s, format version %d; this program reads %s, version %d", file.Program, file.FormatVersion, program, formatVersion)
	}
	if err == nil {
		var again []byte
		if again, err = canonical(file); err == nil && !bytes.Equal(again, content) {
			err = errors.New("it is not written the canonical way, so something changed it")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; any settle writes it again", currentName, err)
	}
	periods := make(map[string]Current, len(file.Periods))
	for _, p := range file.Periods {
		periods[p.Name] = Current{p.Revision, p.Manifest, p.SHA256}
	}
	return periods, nil
}
