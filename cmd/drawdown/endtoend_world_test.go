package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// world is a catalog and some usage, made from a seed. Rows with one id lie within one hour, so that they belong to one
// period, however time is cut.
type world struct {
	random  *rand.Rand
	start   time.Time // of its usage; days of it
	days    int
	catalog map[string][]any
	objects []worldObject
}

type worldObject struct {
	name string
	rows []worldRow
}

// worldRow is a row of usage; what is empty is left out of the object.
type worldRow struct {
	ID, Account, Meter, Quantity, Time string
	Version                            int64
	Region                             string
	text                               string // instead of all others: a line that is no row
}

// worldShape says how large a world is, and what is in it.
type worldShape struct {
	records, days int
	homeless      bool // some rows have no readable time, and belong to no period
}

const (
	worldZone = "Europe/Berlin"
	worldFrom = "2026-10-22" // the days hold the end of a summer time, and the end of a month
)

func newWorld(seed uint64, shape worldShape) *world {
	zone, err := time.LoadLocation(worldZone)
	if err != nil {
		panic(err)
	}
	start, err := time.ParseInLocation(time.DateOnly, worldFrom, zone)
	if err != nil {
		panic(err)
	}
	w := &world{random: rand.New(rand.NewPCG(seed, 7)), start: start, days: shape.days, catalog: map[string][]any{}}
	w.makeCatalog()
	rows := w.makeRows(shape)
	w.spread(rows, []string{"a.ndjson", "b.csv", "c.parquet", "deep/d.ndjson.gz", "deep/e.csv.zst", "deep/er/f.jsonl.zst"})
	return w
}

func (w *world) end() time.Time { return w.start.AddDate(0, 0, w.days) }

// later is long after the world.
func (w *world) later() time.Time { return w.end().AddDate(0, 2, 0) }

// until is the end of the periods that are settled of it: some days more than there is usage for.
func (w *world) until() rating.Instant { return rating.InstantOf(w.end().AddDate(0, 0, 3)) }

func (w *world) pick(from ...string) string { return from[w.random.IntN(len(from))] }

func (w *world) often(percent int) bool { return w.random.IntN(100) < percent }

// at is a random instant of the world, and a little beyond it.
func (w *world) at(daysBefore, daysAfter int) time.Time {
	length := w.end().AddDate(0, 0, daysAfter+daysBefore).Sub(w.start)
	return w.start.AddDate(0, 0, -daysBefore).Add(time.Duration(w.random.Int64N(int64(length))).Truncate(time.Microsecond))
}

func spell(t time.Time) string { return rating.InstantOf(t).String() }

type fields = map[string]any

var (
	worldAccounts = []string{"acme", "acme-lab", "acme-web", "beta", "beta-eu", "gamma", "delta", "epsilon", "zeta"}
	worldPayers   = map[string]string{"acme-lab": "acme", "acme-web": "acme", "beta-eu": "beta"}
	worldMeters   = []string{"calls", "gb", "tokens", "mail"}
	worldRegions  = []string{"", "", "eu", "us"}
)

func (w *world) add(kind string, row fields) { w.catalog[kind] = append(w.catalog[kind], row) }

func (w *world) makeCatalog() {
	for _, id := range worldAccounts {
		row := fields{"id": id}
		if payer := worldPayers[id]; payer != "" {
			row["payer"] = payer
		} else if w.often(30) {
			row["balance"] = strconv.Itoa(w.random.IntN(20))
			for range w.random.IntN(3) {
				w.add("topups", fields{"account": id, "at": spell(w.at(0, 0)), "amount": strconv.Itoa(1 + w.random.IntN(30))})
			}
		}
		if w.often(40) {
			row["time_zone"] = w.pick("Asia/Shanghai", "America/New_York", "Asia/Kolkata")
		}
		w.add("accounts", row)
	}
	for i, id := range worldMeters {
		w.add("meters", fields{"id": id, "unit": id, "scale": []int{0, 3, 0, 0}[i], "max": 5_000_000})
	}
	w.makePrices()
	for i := range 10 + w.random.IntN(8) {
		w.makePackage(fmt.Sprintf("p%02d", i))
	}
	w.add("alert_rules", fields{"id": "all", "type": "percentage", "thresholds": []int{80, 50, 20, 0}})
	w.add("alert_rules", fields{"id": "beta", "account": "beta", "type": "absolute", "thresholds": []int{100, 0}})
}

func (w *world) makePrices() {
	middle := w.start.AddDate(0, 0, w.days/2).Format(time.DateOnly)
	w.add("prices", fields{"id": "calls-1", "meter": "calls", "model": "flat", "price": "0.033333333", "to": middle})
	w.add("prices", fields{"id": "calls-2", "meter": "calls", "model": "flat", "price": "1", "per": 7, "from": middle})
	w.add("prices", fields{"id": "gb", "meter": "gb", "model": "graduated", "counts": w.pick("excess", "usage"), "tiers": []fields{
		{"up_to": 200, "price": "0.2"}, {"up_to": 900, "price": "0.15", "per": 3}, {"price": "0.1"},
	}})
	w.add("prices", fields{"id": "tokens", "meter": "tokens", "model": "volume", "counts": "excess", "tiers": []fields{
		{"up_to": 1000, "price": "2", "per": 1000}, {"price": "1.5", "per": 1000},
	}})
	w.add("prices", fields{
		"id": "tokens-gamma", "meter": "tokens", "account": "gamma", "model": "block", "size": 64, "price": "0.01",
		"counts": w.pick("excess", "usage"),
	})
	// Before this day, what no package covers of it has no price.
	w.add("prices", fields{"id": "mail", "meter": "mail", "model": "flat", "price": "0.5", "from": w.start.AddDate(0, 0, 1).Format(time.DateOnly)})
}

func (w *world) makePackage(id string) {
	effective := w.at(5, -1)
	expires := effective.Add(time.Duration(1+w.random.IntN(240)) * time.Hour)
	row := fields{
		"id": id, "account": w.pick(worldAccounts...), "quota": 1 + w.random.IntN(1500), "scale": 6,
		"kind": w.pick("pay_per_use", "pay_per_use", "stop_before_excess"), "effective": spell(effective), "expires": spell(expires),
		"priority": w.random.IntN(2), "source": w.pick("free", "promotion", "subscription"), "shared": w.often(40),
		"grace_days": w.random.IntN(3), "retention_days": w.random.IntN(3),
		"price_paid": []string{"0", "10", "100", "33.333333333", "0.07"}[int(id[len(id)-1])%5],
	}
	resets := []string{"none", "calendar_month", "hour"}
	if expires.Sub(effective) > 26*time.Hour {
		resets = append(resets, "day", "day")
	}
	if row["reset"] = w.pick(resets...); row["reset"] != "none" && w.often(50) {
		row["rollover_max"] = w.random.IntN(400)
	}
	var covers []fields
	for range 1 + w.random.IntN(2) {
		cover := fields{"meter": w.pick(worldMeters...), "rate": w.pick("1", "1", "0.5", "2.25", "3")}
		if w.often(25) {
			cover["where"] = fields{"region": []string{"eu", w.pick("us", "mars")}}
		}
		if w.often(20) {
			cover["hours"] = w.pick("22:00-06:00", "00:00-12:00", "12:00-24:00")
		}
		covers = append(covers, cover)
	}
	row["covers"] = covers
	w.add("packages", row)
	w.changePackage(id, effective, expires)
}

func (w *world) changePackage(id string, effective, expires time.Time) {
	length := expires.Sub(effective)
	at := effective.Add(time.Duration(w.random.Int64N(int64(length))).Truncate(time.Microsecond))
	row := fields{"package": id, "at": spell(at)}
	switch w.random.IntN(8) {
	case 0:
		row["resized"] = fields{"quota": 1 + w.random.IntN(2000)}
	case 1:
		row["revoked"] = true
	case 2:
		row["extended"] = fields{"expires": spell(expires.Add(30 * time.Hour))}
	case 3:
		row["renewed"] = fields{"expires": spell(expires.Add(length))}
	default:
		return
	}
	w.add("package_changes", row)
}

// makeRows makes usage: most of it good, with copies, later versions, contradictions, and rows that are wrong.
func (w *world) makeRows(shape worldShape) []worldRow {
	var rows []worldRow
	instants := make([]time.Time, max(1, shape.records/3)) // so that some records share one
	for i := range instants {
		instants[i] = w.at(0, 0)
	}
	for i := range shape.records {
		row := worldRow{
			ID: fmt.Sprintf("r%05d", i), Account: w.pick(worldAccounts...), Meter: w.pick(worldMeters...),
			Time: w.spellTime(instants[w.random.IntN(len(instants))]), Region: w.pick(worldRegions...),
		}
		if w.often(50) {
			row.ID = fmt.Sprintf("018c2f1e-7a44-7c1e-9d5b-%012x", i)
		}
		row.Quantity = w.quantity(row.Meter)
		rows = append(rows, row)
		rows = append(rows, w.siblings(row)...)
	}
	rows = append(rows, w.wrongRows(shape)...)
	for n := range 1 + shape.records/50 { // outside all periods
		stray := rows[w.random.IntN(shape.records)]
		stray.ID, stray.Time = fmt.Sprintf("stray%d-%s", n, stray.ID), spell(w.start.Add(-time.Duration(1+w.random.IntN(100))*time.Hour))
		rows = append(rows, stray)
	}
	w.random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// spellTime writes an instant in one of several zones.
func (w *world) spellTime(t time.Time) string {
	zones := []*time.Location{time.UTC, w.start.Location(), time.FixedZone("", 19800)}
	return t.In(zones[w.random.IntN(len(zones))]).Format("2006-01-02T15:04:05.999999999Z07:00")
}

func (w *world) quantity(meter string) string {
	n := w.random.IntN(90)
	switch {
	case w.often(3):
		n = 0
	case meter == "tokens":
		n *= 13
	}
	if meter == "gb" {
		return fmt.Sprintf("%d.%03d", n/3, w.random.IntN(1000))
	}
	return strconv.Itoa(n)
}

// siblings are other rows with a row's id, within its hour.
func (w *world) siblings(row worldRow) []worldRow {
	var all []worldRow
	if w.often(6) {
		duplicate := row
		if row.Meter == "gb" {
			duplicate.Quantity += "000"
		}
		all = append(all, duplicate)
	}
	if w.often(6) {
		version := row
		version.Version = 1 + w.random.Int64N(3)
		version.Quantity = w.quantity(row.Meter)
		version.Time = sameHour(w.random, row.Time)
		all = append(all, version)
		if w.often(30) { // and what corrects it is wrong itself
			version.Version++
			version.Quantity = "-5"
			all = append(all, version)
		}
	}
	if w.often(2) {
		conflict := row
		conflict.Quantity = "77"
		if row.Quantity == "77" {
			conflict.Quantity = "78"
		}
		all = append(all, conflict)
	}
	if w.often(4) { // the same usage under another id
		retry := row
		retry.ID += "-retry"
		all = append(all, retry)
	}
	if w.often(3) { // the same id of another account
		other := row
		other.Account = worldAccounts[(slices.Index(worldAccounts, row.Account)+1)%len(worldAccounts)]
		all = append(all, other)
	}
	return all
}

func sameHour(random *rand.Rand, text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.Truncate(time.Hour).Add(time.Duration(random.Int64N(int64(time.Hour))).Truncate(time.Microsecond)).Format(time.RFC3339Nano)
}

func (w *world) wrongRows(shape worldShape) []worldRow {
	var rows []worldRow
	row := func(change func(*worldRow)) {
		r := worldRow{
			ID: fmt.Sprintf("wrong%03d", len(rows)), Account: w.pick(worldAccounts...), Meter: "calls", Quantity: "1",
			Time: spell(w.at(0, 0)),
		}
		change(&r)
		rows = append(rows, r)
	}
	for range 1 + shape.records/200 {
		row(func(r *worldRow) { r.Quantity = "" })
		row(func(r *worldRow) { r.Quantity = "-1" })
		row(func(r *worldRow) { r.Quantity = "1.5" })
		row(func(r *worldRow) { r.Quantity = "5000001" })
		row(func(r *worldRow) { r.Account = "nobody" })
		row(func(r *worldRow) { r.Meter = "nothing" })
		row(func(r *worldRow) { r.ID = "" })
		if shape.homeless {
			row(func(r *worldRow) { r.Time = "yesterday" })
			row(func(r *worldRow) { r.Time = "" })
			row(func(r *worldRow) { r.text = `{"id": "broken` })
		}
	}
	return rows
}

// spread deals the rows out to objects. A line that is no row goes where there are lines of JSON.
func (w *world) spread(rows []worldRow, names []string) {
	w.objects = make([]worldObject, len(names))
	for i, name := range names {
		w.objects[i].name = name
	}
	for _, row := range rows {
		n := w.random.IntN(len(names))
		for row.text != "" && !strings.Contains(names[n], "json") {
			n = w.random.IntN(len(names))
		}
		w.objects[n].rows = append(w.objects[n].rows, row)
	}
}

// shuffled is the same usage with its rows in other objects, other places and other formats.
func (w *world) shuffled(seed uint64, names ...string) *world {
	other := *w
	other.random = rand.New(rand.NewPCG(seed, 11))
	rows := w.rows()
	other.random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	other.spread(rows, names)
	return &other
}

func (w *world) rows() []worldRow {
	var rows []worldRow
	for _, object := range w.objects {
		rows = append(rows, object.rows...)
	}
	return rows
}

func (w *world) catalogYAML(t testing.TB) []byte {
	t.Helper()
	data, err := yaml.Marshal(w.catalog)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// content is the object's bytes, as its name says.
func (o *worldObject) content(t testing.TB) []byte {
	t.Helper()
	var text bytes.Buffer
	base := strings.TrimSuffix(strings.TrimSuffix(o.name, ".gz"), ".zst")
	switch path.Ext(base) {
	case ".csv":
		o.csv(t, &text)
	case ".parquet":
		o.parquet(t, &text)
	default:
		o.ndjson(t, &text)
	}
	var packed bytes.Buffer
	var packer io.WriteCloser
	switch path.Ext(o.name) {
	case ".gz":
		packer = gzip.NewWriter(&packed)
	case ".zst":
		encoder, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		packer = encoder
	default:
		return text.Bytes()
	}
	if _, err := packer.Write(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func (o *worldObject) ndjson(t testing.TB, out *bytes.Buffer) {
	for _, row := range o.rows {
		if row.text != "" {
			out.WriteString(row.text + "\n")
			continue
		}
		line := fields{}
		for name, value := range map[string]string{"id": row.ID, "account": row.Account, "meter": row.Meter, "time": row.Time} {
			if value != "" {
				line[name] = value
			}
		}
		if row.Quantity != "" {
			line["quantity"] = json.Number(row.Quantity)
		}
		if row.Version != 0 {
			line["version"] = row.Version
		}
		if row.Region != "" {
			line["attributes"] = fields{"region": row.Region}
		}
		data, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(data, '\n'))
	}
}

func (o *worldObject) csv(t testing.TB, out *bytes.Buffer) {
	writer := csv.NewWriter(out)
	writer.Write([]string{"time", "id", "attributes.region", "account", "meter", "version", "quantity"})
	for _, row := range o.rows {
		writer.Write([]string{row.Time, row.ID, row.Region, row.Account, row.Meter, strconv.FormatInt(row.Version, 10), row.Quantity})
	}
	writer.Flush()
	if err := writer.Error(); err != nil {
		t.Fatal(err)
	}
}

type parquetRow struct {
	ID         *string           `parquet:"id,optional"`
	Account    *string           `parquet:"account,optional,dict"`
	Meter      *string           `parquet:"meter,optional,dict"`
	Quantity   *string           `parquet:"quantity,optional"`
	Time       *string           `parquet:"time,optional"`
	Version    int64             `parquet:"version"`
	Attributes map[string]string `parquet:"attributes"`
}

func (o *worldObject) parquet(t testing.TB, out *bytes.Buffer) {
	writer := parquet.NewGenericWriter[parquetRow](out)
	given := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	for _, row := range o.rows {
		r := parquetRow{ID: given(row.ID), Account: given(row.Account), Meter: given(row.Meter), Quantity: given(row.Quantity), Time: given(row.Time), Version: row.Version}
		if row.Region != "" {
			r.Attributes = map[string]string{"region": row.Region}
		}
		if _, err := writer.Write([]parquetRow{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}
