package settlement

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"drawdown/rating"
)

// Stored is a file of the output as the storage lists it: a folder with nothing in it has a name that ends in a slash.
type Stored struct {
	Name     string
	Size     int64
	Modified time.Time
}

// List visits the files whose names begin with a prefix, by name. It follows no link.
func (o *Output) List(ctx context.Context, prefix string, visit func(Stored) error) error {
	err := o.storage.list(ctx, prefix, func(f fileInfo) error { return visit(Stored{f.name, f.size, f.modified}) })
	if err != nil {
		return fmt.Errorf("list the output: %w", err)
	}
	return nil
}

// Remove removes files for good, in their order. What is gone already is no fault.
func (o *Output) Remove(ctx context.Context, names ...string) error {
	if err := o.storage.remove(ctx, names...); err != nil {
		return fmt.Errorf("remove from the output: %w", err)
	}
	return nil
}

// RevisionFolder gives the folder of a revision that a file stands in, its period, revision and token; false for any other
// file.
func RevisionFolder(name string) (dir, period string, revision int, token int64, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "period=") {
		return "", "", 0, 0, false
	}
	period = strings.TrimPrefix(parts[0], "period=")
	if n, err := fmt.Sscanf(parts[1], "rev=%d-%d", &revision, &token); n != 2 || err != nil {
		return "", "", 0, 0, false
	}
	dir = parts[0] + "/" + parts[1]
	return dir, period, revision, token, dir == revisionDir(period, revision, token)
}

// IsTemporary tells whether a file is what a killed run leaves that was about to put current.json in place.
func IsTemporary(name string) bool {
	digits, ok := strings.CutPrefix(name, "."+currentName+".")
	return ok && len(digits) == 2*sha256.Size && strings.Trim(digits, "0123456789abcdef") == ""
}

// ManifestKey gives the key of the manifest of a revision.
func ManifestKey(period string, revision int, token int64) string {
	return path.Join(revisionDir(period, revision, token), manifestName)
}

// IsManifest tells whether a file is the manifest of a revision.
func IsManifest(name string) bool { return path.Base(name) == manifestName }

// IsCurrent tells whether a file is current.json.
func IsCurrent(name string) bool { return name == currentName }

// Sums are what the rows of files add up to, by the names of things.
type Sums struct {
	Meters  map[string]MeterSum
	Amounts map[string]rating.Amount // of lines, by currency
	Charged map[string]rating.Amount // of charges, by currency

	// The part of Meters and Amounts that came late.
	LateMeters  map[string]MeterSum
	LateAmounts map[string]rating.Amount
}

// MeterSum is what became of a meter's units: three sums of lines, and what the charges say.
type MeterSum struct {
	Deducted, Excess, Stopped, Charged rating.Amount
}

// Add adds up the sums of another file.
func (s *Sums) Add(other *Sums) {
	addMeters(s.Meters, other.Meters)
	addMeters(s.LateMeters, other.LateMeters)
	addAmounts(s.Amounts, other.Amounts)
	addAmounts(s.LateAmounts, other.LateAmounts)
	addAmounts(s.Charged, other.Charged)
}

func addMeters(to, from map[string]MeterSum) {
	for id, m := range from {
		n := to[id]
		to[id] = MeterSum{
			sum(n.Deducted, m.Deducted), sum(n.Excess, m.Excess), sum(n.Stopped, m.Stopped), sum(n.Charged, m.Charged),
		}
	}
}

func addAmounts(to, from map[string]rating.Amount) {
	for currency, amount := range from {
		to[currency] = sum(to[currency], amount)
	}
}

// setMeter says what became of a meter's units.
func (s *Sums) setMeter(id string, units *lineUnits, charged rating.Amount) {
	for part, to := range []map[string]MeterSum{s.Meters, s.LateMeters} {
		u := &units[part]
		to[id] = MeterSum{Deducted: u[rating.Deduction], Excess: u[rating.Excess], Stopped: u[rating.Stopped]}
	}
	m := s.Meters[id]
	m.Charged = charged
	s.Meters[id] = m
}

// Without takes the sums of a part away.
func (s *Sums) Without(part *Sums) {
	less := func(a, b rating.Amount) rating.Amount {
		d, _ := a.Sub(b)
		return d
	}
	for id, m := range part.Meters {
		n := s.Meters[id]
		s.Meters[id] = MeterSum{
			less(n.Deducted, m.Deducted), less(n.Excess, m.Excess), less(n.Stopped, m.Stopped), less(n.Charged, m.Charged),
		}
	}
	for currency, amount := range part.Amounts {
		s.Amounts[currency] = less(s.Amounts[currency], amount)
	}
}

// NewSums gives sums of nothing.
func NewSums() *Sums {
	return &Sums{
		map[string]MeterSum{}, map[string]rating.Amount{}, map[string]rating.Amount{}, map[string]MeterSum{}, map[string]rating.Amount{},
	}
}

// Verify checks a file of a revision: its size and hash against what the manifest says of it, then its rows by themselves,
// as [Revision.Check] does when it is written. It gives what they add up to. A file with another hash is not decoded.
func (o *Output) Verify(ctx context.Context, dir string, f File) (sums *Sums, err error) {
	t := tableNamed(f.Table)
	if t < 0 {
		return nil, fmt.Errorf("there is no table %q", f.Table)
	}
	if strings.ContainsAny(f.Name, `/\`) {
		return nil, fmt.Errorf("%q leads out of the revision's folder", f.Name)
	}
	file, err := o.storage.open(path.Join(dir, f.Name))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	size, err := io.CopyBuffer(hash, contextReader{ctx, io.NewSectionReader(file, 0, file.Size())}, bufferFor(file))
	if err != nil {
		return nil, err
	}
	if got := hash.Sum(nil); size != f.Size || !bytes.Equal(got, f.SHA256) {
		return nil, fmt.Errorf("it has %d bytes with SHA-256 %x, but the manifest says %d bytes with SHA-256 %s", size, got, f.Size, f.SHA256)
	}
	all := &register{meters: map[string]int{}, currencies: map[string]int{}}
	if _, err := readBack(ctx, file, &f, t, all, &all.tally); err != nil {
		return nil, err
	}
	return all.sums(), nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

func tableNamed(name string) table {
	for t := range tableCount {
		if tables[t].name == name {
			return t
		}
	}
	return -1
}

// register numbers meters and currencies as they come, whatever the catalog has today.
type register struct {
	meters, currencies map[string]int
	tally              tally
}

func (r *register) meterNumber(id string) int {
	n, ok := r.meters[id]
	if !ok {
		n = len(r.meters)
		r.meters[id] = n
		r.tally.quantities = append(r.tally.quantities, lineUnits{})
		r.tally.units = append(r.tally.units, rating.Amount{})
	}
	return n
}

func (r *register) currencyNumber(currency string) int {
	n, ok := r.currencies[currency]
	if !ok {
		n = len(r.currencies)
		r.currencies[currency] = n
		r.tally.amounts = append(r.tally.amounts, rating.Amount{})
		r.tally.late = append(r.tally.late, rating.Amount{})
		r.tally.charged = append(r.tally.charged, rating.Amount{})
	}
	return n
}

func (r *register) sums() *Sums {
	s := NewSums()
	for id, n := range r.meters {
		s.setMeter(id, &r.tally.quantities[n], r.tally.units[n])
	}
	for currency, n := range r.currencies {
		s.Amounts[currency], s.LateAmounts[currency], s.Charged[currency] = r.tally.amounts[n], r.tally.late[n], r.tally.charged[n]
	}
	return s
}

// differ holds control totals, and the part of them that came late, against what lines add up to, and gives all that
// differs.
func (s *Sums) differ(m *Manifest) []error {
	faults := differ(s.Meters, s.Amounts, &m.Totals, "")
	late := &Totals{}
	if m.Late != nil {
		late.Meters, late.Amounts = m.Late.Meters, m.Late.Amounts
	}
	return append(faults, differ(s.LateMeters, s.LateAmounts, late, "late ")...)
}

func differ(meters map[string]MeterSum, currencies map[string]rating.Amount, t *Totals, late string) (faults []error) {
	stated, amounts := map[string]MeterTotal{}, map[string]Decimal{}
	ids, codes := slices.Collect(maps.Keys(meters)), slices.Collect(maps.Keys(currencies))
	for _, m := range t.Meters {
		stated[m.Meter] = m
		ids = append(ids, m.Meter)
	}
	for _, a := range t.Amounts {
		amounts[a.Currency] = a.Amount
		codes = append(codes, a.Currency)
	}
	slices.Sort(ids)
	slices.Sort(codes)
	for _, id := range slices.Compact(ids) {
		is, says := meters[id], stated[id]
		if Decimal(is.Deducted) != says.Deducted || Decimal(is.Excess) != says.Excess || Decimal(is.Stopped) != says.Stopped {
			faults = append(faults, fmt.Errorf("R4.6: meter %s: the %slines hold %s deducted, %s excess, %s stopped, but the totals say %s, %s, %s",
				id, late, is.Deducted, is.Excess, is.Stopped, says.Deducted, says.Excess, says.Stopped))
		}
	}
	for _, currency := range slices.Compact(codes) {
		if is := currencies[currency]; Decimal(is) != amounts[currency] {
			faults = append(faults, fmt.Errorf("the %slines hold %s %s, but the totals say %s", late, is, currency, amounts[currency]))
		}
	}
	return faults
}

// unlike holds what charges add up to against the lines, and gives all that differs.
func (s *Sums) unlike() (faults []error) {
	for _, id := range slices.Sorted(maps.Keys(s.Meters)) {
		if m := s.Meters[id]; m.Charged != m.Excess {
			faults = append(faults, fmt.Errorf("meter %s: the charges are for %s, but the lines hold %s excess", id, m.Charged, m.Excess))
		}
	}
	for _, currency := range slices.Sorted(maps.Keys(s.Charged)) {
		if is := s.Charged[currency]; is != s.Amounts[currency] {
			faults = append(faults, fmt.Errorf("the charges hold %s %s, but the lines hold %s", is, currency, s.Amounts[currency]))
		}
	}
	return faults
}

// VerifyTotals holds the manifest's control totals against what its files add up to, and the files against each other. It
// gives all that differs.
func (m *Manifest) VerifyTotals(s *Sums) []error {
	var quarantined int64
	for _, f := range m.Files {
		if f.Table == tables[tableQuarantine].name {
			quarantined += f.Rows
		}
	}
	faults := append(s.differ(m), s.unlike()...)
	if quarantined != m.Totals.Rows.Quarantined {
		faults = append(faults, errQuarantine(quarantined, m.Totals.Rows.Quarantined))
	}
	return faults
}

func errQuarantine(is, says int64) error {
	return fmt.Errorf("R4.6: the quarantine has %d rows, but the totals say %d", is, says)
}

// VerifyBalances visits the rows of a balances file.
func (o *Output) VerifyBalances(ctx context.Context, name string, visit func(*Balance) error) error {
	return eachRow(ctx, o.File(name), tableBalances, func(r row) error {
		return visit(&Balance{
			PeriodStart: r.instant(balancePeriodStart), PeriodEnd: r.instant(balancePeriodEnd),
			Payer: r.text(balancePayer), Account: r.text(balanceAccount), Package: r.text(balancePackage),
			CycleStart: r.instant(balanceCycleStart), Opening: r.amount(balanceOpening), Closing: r.amount(balanceClosing),
		})
	})
}

// VerifyNotices visits the rows of a notices file.
func (o *Output) VerifyNotices(ctx context.Context, name string, visit func(*Notice) error) error {
	return eachRow(ctx, o.File(name), tableNotices, func(r row) error {
		n := noticeOf(r)
		return visit(&n)
	})
}
