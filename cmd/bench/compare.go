package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
)

// totalsOf sums lines up by meter. The hash is over every line, whatever their order: two programs that split one record
// differently have the same totals, but not the same hash.
const totalsOf = `SELECT meter, count(DISTINCT record_id::UUID), count(package_id), count(*) - count(package_id),
	coalesce(sum(quantity) FILTER (package_id IS NOT NULL), 0)::VARCHAR, coalesce(sum(quantity) FILTER (package_id IS NULL), 0)::VARCHAR,
	sum(amount)::VARCHAR, sum(quantity)::VARCHAR,
	sum(hash(record_id, account, coalesce(package_id, ''), quantity, amount)::HUGEINT)::VARCHAR
	FROM (%s) GROUP BY meter ORDER BY meter`

const sqlLines = `SELECT record_id, account, meter, package_id, quantity::DECIMAL(38,9) AS quantity, amount::DECIMAL(38,9) AS amount FROM '%s'`

const drawdownLines = `SELECT record_id, account, meter, CASE kind WHEN 'deduction' THEN package END AS package_id,
	quantity::DECIMAL(38,9) AS quantity, amount::DECIMAL(38,9) AS amount FROM read_parquet('%s')`

// duckCompare runs in a child: the totals of drawdown's lines (-in, when given) and of the SQL's (-out).
func duckCompare(args []string) error {
	f, err := parseDuckFlags(args)
	if err != nil {
		return err
	}
	conn, err := openDuckDB(f.threads, f.memoryLimit, f.scratch)
	if err != nil {
		return err
	}
	a := &duckAnswer{}
	if a.Totals, err = totals(conn, fmt.Sprintf(sqlLines, f.out)); err != nil {
		return err
	}
	if f.in != "" {
		lines := filepath.Join(f.in, "settlements", "period=*", "rev=*", "lines*.parquet")
		ours, err := totals(conn, fmt.Sprintf(drawdownLines, lines))
		if err != nil {
			return err
		}
		a.Wrong = differences(ours, a.Totals)
	}
	return printAnswer(a)
}

func totals(conn *sql.Conn, lines string) ([]meterTotals, error) {
	rows, err := conn.QueryContext(context.Background(), fmt.Sprintf(totalsOf, lines))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []meterTotals
	for rows.Next() {
		var t meterTotals
		if err := rows.Scan(&t.Meter, &t.Records, &t.CoveredLines, &t.ExcessLines, &t.Covered, &t.Excess, &t.Amount, &t.Used, &t.Hash); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, rows.Err()
}

// differences says in words where drawdown and the SQL do not agree.
func differences(ours, theirs []meterTotals) []string {
	var wrong []string
	find := func(all []meterTotals, meter string) meterTotals {
		for _, t := range all {
			if t.Meter == meter {
				return t
			}
		}
		return meterTotals{Meter: meter}
	}
	for _, t := range theirs {
		if o := find(ours, t.Meter); o != t {
			wrong = append(wrong, fmt.Sprintf("%s: drawdown %+v, SQL %+v", t.Meter, o, t))
		}
	}
	if len(ours) > len(theirs) {
		wrong = append(wrong, fmt.Sprintf("drawdown has %d meters, SQL %d", len(ours), len(theirs)))
	}
	return wrong
}

// agreement is what the comparison found, in words for the report.
type agreement struct {
	records, lines  int64
	excess          string // share of the quantity, in percent
	amount          string
	withDrawdown    bool
	duplicatesFound int64
}

// compare compares what the last runs of both programs left behind, and the SQL's with the usage itself.
func (b *bench) compare(w *world, share shares) (*agreement, error) {
	progress("comparing")
	args := []string{"duckdb-compare", "-out", b.duckOut(), "-threads", "2", "-scratch", b.scratch}
	if b.withDrawdown() {
		args = append(args, "-in", w.dir)
	}
	m, err := child(0, b.self, args...)
	if err != nil {
		return nil, err
	}
	var a duckAnswer
	if err := json.Unmarshal(m.stdout, &a); err != nil {
		return nil, err
	}
	if len(a.Wrong) > 0 {
		return nil, errors.New("drawdown and the SQL do not agree:\n" + strings.Join(a.Wrong, "\n"))
	}
	found := &agreement{withDrawdown: b.withDrawdown(), duplicatesFound: w.Records - share.Records}
	used, excess, amount := new(big.Rat), new(big.Rat), new(big.Rat)
	for _, t := range a.Totals {
		found.records += t.Records
		found.lines += t.CoveredLines + t.ExcessLines
		for _, s := range []struct {
			to   *big.Rat
			text string
		}{{used, t.Used}, {excess, t.Excess}, {amount, t.Amount}} {
			if n, ok := new(big.Rat).SetString(s.text); ok {
				s.to.Add(s.to, n)
			}
		}
	}
	if sum, ok := new(big.Rat).SetString(share.Sum); !ok || sum.Cmp(used) != 0 || found.records != share.Records {
		return nil, fmt.Errorf("the SQL settled %s in %d records, but the usage is %s in %d", used.FloatString(6), found.records, share.Sum, share.Records)
	}
	found.excess = new(big.Rat).Quo(new(big.Rat).Mul(excess, big.NewRat(100, 1)), used).FloatString(1)
	found.amount = amount.FloatString(2)
	return found, nil
}
