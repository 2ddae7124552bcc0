package export

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"drawdown/rating"
)

// Manifest says what a file of an export is and what it adds up to.
type Manifest struct {
	FormatVersion int           `json:"format_version"`
	Program       string        `json:"program"`
	Site          string        `json:"site"`
	Format        string        `json:"format"`
	File          string        `json:"file"`
	Size          int64         `json:"size"`
	SHA256        string        `json:"sha256"`
	From          string        `json:"from"`
	To            string        `json:"to"`
	TimeZone      string        `json:"time_zone"`
	Provisional   bool          `json:"provisional"`
	Periods       []Period      `json:"periods"`
	Tables        []TableTotals `json:"tables"`
}

// Period is a period that a file has rows of.
type Period struct {
	Name           string `json:"name"`
	Revision       int    `json:"revision"`
	State          string `json:"state"` // settled or closed
	ManifestSHA256 string `json:"manifest_sha256"`
}

// TableTotals are the rows and sums of a table.
type TableTotals struct {
	Name string `json:"table"`
	Rows int64  `json:"rows"`
	Sums []Sum  `json:"sums"`
}

// Sum is what the decimals of a column add up to where another column says Of.
type Sum struct {
	Column string `json:"column"`
	By     string `json:"by"`
	Of     string `json:"of"`
	Sum    Total  `json:"sum"`
}

// Total is an exact decimal, written as a string.
type Total rating.Amount

func (t Total) String() string { return rating.Amount(t).String() }

// MarshalText writes the decimal without trailing zeros.
func (t Total) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// tally adds up a table while it is written.
type tally struct {
	table *Table
	rows  int64
	by    []int // for each column that is added up: where its texts are, else -1
	first int64 // period
	last  int64
	sums  []map[string]rating.Amount
}

func newTally(t *Table) *tally {
	y := &tally{table: t, by: make([]int, len(t.Columns)), sums: make([]map[string]rating.Amount, len(t.Columns))}
	for i := range t.Columns {
		y.by[i] = -1
		if by := t.Columns[i].By; by != "" {
			y.by[i], y.sums[i] = t.column(by), map[string]rating.Amount{}
		}
	}
	return y
}

func (y *tally) add(row []Value) error {
	y.turn(row[0].Int)
	y.rows++
	for i, by := range y.by {
		if by < 0 || row[i].Null || y.table.Columns[i].Sums == Opening && row[0].Int != y.first {
			continue
		}
		sum, ok := y.sums[i][row[by].Text].Add(row[i].Decimal)
		if !ok {
			return fmt.Errorf("column %s: sum: %w", y.table.Columns[i].Name, rating.ErrOverflow)
		}
		y.sums[i][row[by].Text] = sum
	}
	return nil
}

// turn begins another period: what is a balance at its end is added up anew.
func (y *tally) turn(period int64) {
	if y.rows == 0 {
		y.first, y.last = period, period
	}
	for i := range y.sums {
		if y.table.Columns[i].Sums == Closing && period != y.last {
			clear(y.sums[i])
		}
	}
	y.last = period
}

func (y *tally) totals() TableTotals {
	t := TableTotals{Name: y.table.Name, Rows: y.rows, Sums: []Sum{}}
	for i := range y.sums {
		for _, of := range slices.Sorted(maps.Keys(y.sums[i])) {
			t.Sums = append(t.Sums, Sum{y.table.Columns[i].Name, y.table.Columns[i].By, of, Total(y.sums[i][of])})
		}
	}
	return t
}

// Writer writes the files of one export into a folder. Nothing is overwritten.
type Writer struct {
	Dir     string
	TempDir string
	Head    Manifest // what the manifests of all files say: site, format, from, to, periods

	made []string
}

// Out is one file of an export while it is written.
type Out struct {
	writer *Writer
	name   string
	file   *os.File
	hash   hash.Hash
	size   int64
	book   *workbook
	tables []*tally
	rows   []rowWriter
}

// counted hashes and counts what is written.
func (o *Out) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	o.hash.Write(p[:n])
	o.size += int64(n)
	return n, err
}

// ErrExists is a file that would be overwritten.
var ErrExists = errors.New("is there already")

// Create begins a file of one table, or of several in a workbook; its extension says in which format.
func (w *Writer) Create(name string, tables ...*Table) (*Out, error) {
	if err := os.MkdirAll(w.Dir, 0o777); err != nil {
		return nil, err
	}
	path := filepath.Join(w.Dir, name)
	for _, p := range []string{path, path + ".manifest.json"} {
		if _, err := os.Lstat(p); err == nil {
			return nil, fmt.Errorf("%s %w", p, ErrExists)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s %w", path, ErrExists)
	}
	if err != nil {
		return nil, err
	}
	w.made = append(w.made, path)
	o := &Out{writer: w, name: name, file: file, hash: sha256.New()}
	if filepath.Ext(name) == ".xlsx" {
		if o.book, err = newWorkbook(o, w.TempDir); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	for _, t := range tables {
		if err := o.begin(t, filepath.Ext(name)); err != nil {
			return nil, errors.Join(err, o.abandon())
		}
	}
	return o, nil
}

func (o *Out) begin(t *Table, extension string) (err error) {
	var rows rowWriter
	switch extension {
	case ".xlsx":
		rows, err = o.book.sheet(t)
	case ".parquet":
		rows, err = newParquet(o, t)
	default:
		rows, err = newCSV(o, t)
	}
	o.tables, o.rows = append(o.tables, newTally(t)), append(o.rows, rows)
	return err
}

// Row writes a row of a table: of the first one it was made with, the second one and so on. In a workbook, a table's rows
// come after those of the tables before it.
func (o *Out) Row(table int, row []Value) error {
	if err := o.tables[table].add(row); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	if err := o.rows[table].write(row); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	return nil
}

// Finish writes what is left and the manifest, and gives it.
func (o *Out) Finish() (*Manifest, error) {
	m := o.writer.Head
	m.FormatVersion, m.Program, m.File = 1, "drawdown", o.name
	m.Periods = append([]Period{}, m.Periods...)
	for i, t := range o.tables {
		m.Tables = append(m.Tables, t.totals())
		if err := o.rows[i].end(); err != nil {
			return nil, errors.Join(fmt.Errorf("write %s: %w", o.name, err), o.abandon())
		}
	}
	if o.book != nil {
		sheets := make([]*sheet, len(o.rows))
		for i := range sheets {
			sheets[i] = o.rows[i].(*sheet)
		}
		if err := o.book.finish(&m, sheets); err != nil {
			return nil, errors.Join(fmt.Errorf("write %s: %w", o.name, err), o.abandon())
		}
	}
	err := o.file.Sync()
	if err = errors.Join(err, o.abandon()); err != nil {
		return nil, fmt.Errorf("write %s: %w", o.name, err)
	}
	m.Size, m.SHA256 = o.size, hex.EncodeToString(o.hash.Sum(nil))
	return &m, o.writer.manifest(&m)
}

// abandon lets go of the file as it is.
func (o *Out) abandon() error {
	err := o.file.Close()
	if o.book != nil {
		err = errors.Join(err, o.book.close())
	}
	return err
}

func (w *Writer) manifest(m *Manifest) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return err
	}
	path := filepath.Join(w.Dir, m.File+".manifest.json")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w.made = append(w.made, path)
	_, err = io.Copy(file, &b)
	return errors.Join(cmp.Or(err, file.Sync()), file.Close())
}

// Discard takes away what was written, after something failed.
func (w *Writer) Discard() error {
	var errs []error
	for _, path := range w.made {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
