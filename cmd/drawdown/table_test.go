package main

import (
	"bytes"
	"strings"
	"testing"
)

// printed prints a table of one row and checks its width.
func printed(t *testing.T, columns []column, cells ...string) string {
	t.Helper()
	var b bytes.Buffer
	table := table{columns: columns}
	table.row(cells...)
	table.note("expires 2026-10-08, " + strings.Repeat("x", 90))
	table.print(&b, ink{})
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimSuffix(line, "\n"); width(line) > tableWidth {
			t.Errorf("%d columns: %s", width(line), line)
		}
	}
	return b.String()
}

func TestTablesKeepToTheirWidth(t *testing.T) {
	id := strings.Repeat("package-", 9) + "17"
	number := "9,223,372,036,854,775,807.123456789"
	few := printed(t, []column{{"package", ident}, {"left", decimal}, {"unit", left}}, id, number, "token")
	if !strings.Contains(few, number) || !strings.Contains(few, "17  ") || !strings.Contains(few, "token") {
		t.Errorf("numbers are never cut, ids keep their ends:\n%s", few)
	}
	many := printed(t, []column{{"package", ident}, {"left", decimal}, {"", fixed}, {"quota", decimal}, {"unit", left}}, id, number, "████", number, "token/hour")
	for _, line := range []string{"  " + id + "\n", "    left   " + number + "  ████\n", "    quota  " + number + "\n", "    unit   token/hour\n"} {
		if !strings.Contains(many, line) {
			t.Errorf("there is no line %q in\n%s", line, many)
		}
	}
}

// TestPointsGiveWayToWidth: a table that fits only without its points below each other is printed so.
func TestPointsGiveWayToWidth(t *testing.T) {
	var b bytes.Buffer
	table := table{columns: []column{{"package", ident}, {"left", decimal}, {"quota", decimal}}}
	whole, fraction := "9,223,372,036,854,775,807", "1.123456789"
	table.row(strings.Repeat("p", 30), whole, whole)
	table.row(strings.Repeat("q", 30), fraction, fraction)
	table.print(&b, ink{})
	if lines := strings.Split(b.String(), "\n"); len(lines) != 4 || width(lines[1]) > tableWidth || width(lines[1]) != width(lines[2]) {
		t.Errorf("got\n%s", b.String())
	}
}
