package usagetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Row is a line that cannot settle, and the reason that it must be given.
type Row struct {
	Text   string
	Reason string
}

// defect spoils the fields of a sound row: id, account, meter, quantity, time. JSON says how a field is written there;
// a field that is not named is left out.
type defect struct {
	reason string
	field  string
	values []string
}

// defects are those that a row has in either format.
func defects() []defect {
	return []defect{
		{"missing_field", "id", []string{""}},
		{"missing_field", "account", []string{""}},
		{"missing_field", "meter", []string{""}},
		{"missing_field", "quantity", []string{""}},
		{"missing_field", "time", []string{""}},
		{"bad_time", "time", []string{
			"yesterday", "2026-10-01", "2026-10-01T08:30:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-10-01T24:01:00Z", "1790812800",
			"0000-01-01T00:00:00Z", "12026-10-01T00:00:00Z", "2026-10-01T08:30:00+25:00", "2026-10-01T08:30:00Zulu", "01/10/2026 08:30", "2026-10-01T08:30:00.Z",
		}},
		{"bad_quantity", "quantity", []string{
			"-1", "NaN", "Infinity", "-Infinity", "1e400", "0x10", "1_000", "9223372036854775808", "1.5", " 1", "1 ", "one", "1e", ".", "--1", "+-1",
			"1e-1", "٣", strings.Repeat("9", 400), "0." + strings.Repeat("0", 400) + "1",
		}},
		{"unknown_account", "account", []string{"nobody", "ACME", " acme", "acme ", "акме", strings.Repeat("a", 5000), "'; DROP TABLE package; --", "../../etc/passwd"}},
		{"unknown_meter", "meter", []string{"none", "Calls", "calls ", strings.Repeat("m", 5000), "=1+1", "${jndi:ldap://x}"}},
		{"future", "time", []string{"2031-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}},
	}
}

// Rows makes rows of a format, "ndjson" or "csv", each with a defect of its own choice. The same seed gives the same rows.
func Rows(format string, seed uint64, n int) []Row {
	random := rand.New(rand.NewPCG(seed, 2))
	write, own := writeJSON, brokenJSON
	if format == "csv" {
		write, own = writeCSV, brokenCSV
	}
	kinds := defects()
	var rows []Row
	for len(rows) < n {
		fields := map[string]string{
			"id": fmt.Sprintf("row-%d", len(rows)), "account": "acme", "meter": "calls",
			"quantity": fmt.Sprint(random.IntN(1000)), "time": "2026-10-01T08:30:00Z",
		}
		if pick := random.IntN(2 * len(kinds)); pick < len(kinds) {
			d := kinds[pick]
			fields[d.field] = d.values[random.IntN(len(d.values))]
			rows = append(rows, Row{write(fields), d.reason})
			continue
		}
		sound := write(fields)
		broken := own(random, sound)
		rows = append(rows, Row{broken, "malformed"})
	}
	return rows
}

func writeJSON(fields map[string]string) string {
	var parts []string
	for _, name := range []string{"id", "account", "meter", "quantity", "time"} {
		if fields[name] != "" {
			parts = append(parts, fmt.Sprintf("%q:%q", name, fields[name]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func writeCSV(fields map[string]string) string {
	var cells []string
	for _, name := range []string{"id", "account", "meter", "quantity", "time"} {
		cells = append(cells, fields[name])
	}
	return strings.Join(cells, ",")
}

// brokenJSON breaks a line in one of the ways that JSON can be broken.
func brokenJSON(random *rand.Rand, line string) string {
	inside := line[1 : len(line)-1]
	var members []string
	for i := range 260 {
		members = append(members, fmt.Sprintf(`"k%d":0`, i))
	}
	all := []string{
		line[:1+random.IntN(len(line)-1)],                                  // cut off
		line + "}", line + line, line + " x", "x" + line, "[" + line + "]", // something around it
		"{" + inside + ",}", "{," + inside + "}", "{" + strings.ReplaceAll(inside, ":", "=") + "}",
		"{" + inside + "," + inside + "}",                                        // each key twice
		"{" + inside + `,"x":"` + "\x00" + `"}`, "{" + inside + `,"x":"\u0000"}`, // NUL
		"{" + inside + `,"x":"` + "\xff\xfe" + `"}`, "{" + inside + `,"x":"\ud800"}`, "{" + inside + `,"x":"\udc00\ud800"}`,
		"{" + inside + `,"x":"\q"}`, "{" + inside + `,"x":"\u12"}`, "{" + inside + ",\"x\":\"\x01\"}",
		"{" + inside + `,"x":01}`, "{" + inside + `,"x":+1}`, "{" + inside + `,"x":NaN}`, "{" + inside + `,"x":.5}`, "{" + inside + `,"x":1.}`,
		"{" + inside + `,"x":tru}`, "{" + inside + `,"x":undefined}`, "{" + inside + `,x:1}`, "{" + inside + `,'x':1}`,
		"{" + inside + `,"x":1 /* one */}`, "{" + inside + `,"x":[1,]}`, "{" + inside + `,"x":[1}`, "{" + inside + `,"x":{]}`,
		"{" + inside + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}",
		"{" + inside + `,"x":` + strings.Repeat("[", 100_000) + "}",
		"{" + inside + "," + strings.Join(members, ",") + "}",
		"{" + inside + `,"x":"` + strings.Repeat("y", 1<<20) + `"}`,
		"{" + inside + `,"attributes":[]}`, "{" + inside + `,"attributes":"eu"}`, "{" + inside + `,"attributes":{"a":{}}}`,
		"{" + inside + `,"version":-1}`, "{" + inside + `,"version":1.5}`, "{" + inside + `,"version":"new"}`, "{" + inside + `,"version":{}}`,
		strings.Replace(line, `"acme"`, `["acme"]`, 1), strings.Replace(line, `"calls"`, "true", 1), strings.Replace(line, `"acme"`, `{"id":"acme"}`, 1),
		"null", `"text"`, "7", "[]", "<usage/>", "id,account,meter", "\ufeff" + line, "\x1f\x8b\x08",
	}
	return all[random.IntN(len(all))]
}

// brokenCSV breaks a line in one of the ways that CSV can be broken. Quotes are closed, or another row would go with it.
func brokenCSV(random *rand.Rand, line string) string {
	all := []string{
		line[:strings.LastIndexByte(line, ',')], line + ",", line + ",x", strings.ReplaceAll(line, ",", ";"), strings.ReplaceAll(line, ",", "\t"),
		line + strings.Repeat(",", 1000), "x", "'" + strings.ReplaceAll(line, ",", " ") + "'", "{}",
		`a"b"` + line, `"a"b` + line, `"a" ` + line, `x"` + line + `"`, line + `""x""`,
		"\xff" + line, line + "\x00", "\x00", strings.Repeat("y", 1<<20+1), line + strings.Repeat("z", 1<<20),
		`"` + line + `"`, "#" + strings.ReplaceAll(line, ",", ""), "id,account", "\x1f\x8b\x08",
	}
	return all[random.IntN(len(all))]
}

// Table puts rows below each other, as an object.
func Table(format string, rows []Row) []byte {
	var b strings.Builder
	if format == "csv" {
		b.WriteString(header)
	}
	for _, r := range rows {
		b.WriteString(r.Text)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}
