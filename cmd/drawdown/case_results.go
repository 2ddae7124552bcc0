package main

import (
	"fmt"
	"iter"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"drawdown/rating"
	"drawdown/writers/settlement"
)

// readResults reads what a site's output says is current: lines, notices and quarantine of all periods, charges summed over
// them, balances of the last one.
func readResults(dir string) (*results, error) {
	out, err := settlement.OpenOutput(dir)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	current, err := out.ReadCurrent()
	if err != nil {
		return nil, err
	}
	r := &results{tables: map[string][]resultRow{}}
	for _, period := range keysOf(current) {
		p, err := openPublished(out, period, current[period])
		if err != nil {
			return nil, err
		}
		r.tables["balances"] = nil
		for _, f := range p.manifest.Files {
			if err := r.read(f.Table, p.file(f.Name)); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(r.tables["lines"], func(a, b resultRow) int {
		return compareBy([]string{"period_start", "payer", "event_time", "account", "meter"}, a, b)
	})
	slices.SortStableFunc(r.tables["balances"], func(a, b resultRow) int {
		return compareBy([]string{"package", "cycle_start"}, a, b)
	})
	r.sumCharges()
	return r, nil
}

// read appends the rows of a file.
func (r *results) read(table string, file settlement.Source) (err error) {
	var rows []resultRow
	switch table {
	case "lines":
		rows, err = collectRows(settlement.ReadLines(file))
	case "charges":
		rows, err = collectRows(settlement.ReadCharges(file))
	case "balances":
		rows, err = collectRows(settlement.ReadBalances(file))
	case "notices":
		rows, err = collectRows(settlement.ReadNotices(file))
	case "quarantine":
		rows, err = collectRows(settlement.ReadQuarantine(file))
	default:
		err = fmt.Errorf("%s: unknown table %s", file, table)
	}
	r.tables[table] = append(r.tables[table], rows...)
	return err
}

func collectRows[T any](rows iter.Seq2[T, error]) ([]resultRow, error) {
	var all []resultRow
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		all = append(all, toRow(reflect.ValueOf(row)))
	}
	return all, nil
}

// toRow makes a row of a struct: SourceRow becomes source_row, a nil pointer is left out.
func toRow(v reflect.Value) resultRow {
	row := resultRow{}
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				continue
			}
			field = field.Elem()
		}
		text := fmt.Sprint(field.Interface())
		switch value := field.Interface().(type) {
		case []byte:
			text = string(value)
		case rating.Instant:
			text = value.String()
		case rating.Amount:
			text = value.String()
		}
		row[columnName(v.Type().Field(i).Name)] = text
	}
	return row
}

// columnName writes SourceRow as source_row and PriceID as price_id.
func columnName(field string) string {
	var name strings.Builder
	for i, c := range field {
		upper := c >= 'A' && c <= 'Z'
		if upper && i > 0 && field[i-1] >= 'a' && field[i-1] <= 'z' {
			name.WriteByte('_')
		}
		name.WriteString(strings.ToLower(string(c)))
	}
	return name.String()
}

// sumCharges adds up the charges of all periods by account, meter, month, price and tier.
func (r *results) sumCharges() {
	sums := map[string]resultRow{}
	var order []string
	for _, row := range r.tables["charges"] {
		key := fmt.Sprintf("%q", []string{row["account"], row["meter"], row["month"], row["price_id"], row["tier"], row["late"]})
		sum := sums[key]
		if sum == nil {
			sums[key] = row
			order = append(order, key)
			continue
		}
		for _, column := range []string{"quantity", "amount", "line_count"} {
			a, _ := new(big.Rat).SetString(sum[column])
			b, _ := new(big.Rat).SetString(row[column])
			sum[column] = trimZeros(a.Add(a, b).FloatString(9))
		}
	}
	r.tables["charges"] = nil
	for _, key := range order {
		r.tables["charges"] = append(r.tables["charges"], sums[key])
	}
}

func trimZeros(decimal string) string {
	return strings.TrimSuffix(strings.TrimRight(decimal, "0"), ".")
}
