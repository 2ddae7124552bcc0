package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2"
)

// TestRecipes runs every query of docs/recipes.md on the site in testdata/recipes, and compares the answers with the page.
// UPDATE_RECIPES=1 writes them into it.
func TestRecipes(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "recipes"))); err != nil {
		t.Fatal(err)
	}
	program := buildDrawdown(t)
	run := func(args ...string) {
		t.Helper()
		command := exec.Command(program, args...)
		command.Dir = dir
		if answer, err := command.CombinedOutput(); err != nil {
			t.Fatalf("drawdown %v: %v\n%s", args, err, answer)
		}
	}
	run("--now", "2026-12-02T00:00:00Z", "--quiet", "settle")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^drawdown (.+)$`).FindAllStringSubmatch(string(page), -1) {
		run(strings.Fields(line[1])...)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("SET TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile("(?s)```sql\n(.+?);\n```\n\n```\n(.*?)```")
	found := 0
	updated := recipe.ReplaceAllStringFunc(string(page), func(block string) string {
		found++
		parts := recipe.FindStringSubmatch(block)
		answer := query(t, db, strings.ReplaceAll(parts[1], "'out/", "'"+filepath.ToSlash(dir)+"/out/"))
		if answer != parts[2] && os.Getenv("UPDATE_RECIPES") == "" {
			t.Errorf("the page says\n%s\nand the answer to recipe %d is\n%s", parts[2], found, answer)
		}
		return strings.TrimSuffix(block, parts[2]+"```") + answer + "```"
	})
	if found != 10 {
		t.Errorf("the page has %d recipes", found)
	}
	if os.Getenv("UPDATE_RECIPES") != "" {
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "recipes.md"), []byte(updated), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func buildDrawdown(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "drawdown")
	command := exec.Command("go", "build", "-o", program, "./cmd/drawdown")
	command.Dir = filepath.Join("..", "..")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if answer, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build drawdown: %v\n%s", err, answer)
	}
	return program
}

// query gives an answer as a page shows it: columns side by side, numbers to the right.
func query(t *testing.T, db *sql.DB, statement string) string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), statement)
	if err != nil {
		t.Fatalf("%v\n%s", err, statement)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	table, right := [][]string{names}, make([]bool, len(names))
	for rows.Next() {
		values, places := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		cells := make([]string, len(names))
		for i, v := range values {
			cells[i], right[i] = cell(v)
		}
		table = append(table, cells)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(table) == 1 {
		t.Errorf("nothing answers\n%s", statement)
	}
	return laidOut(table, right)
}

func cell(v any) (text string, number bool) {
	switch v := v.(type) {
	case duckdb.Decimal:
		fraction := new(big.Rat).SetFrac(v.Value, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(v.Scale)), nil))
		text = fraction.FloatString(int(v.Scale))
		if strings.Contains(text, ".") {
			text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return text, true
	case int64, int32, *big.Int:
		return fmt.Sprint(v), true
	}
	return fmt.Sprint(v), false
}

func laidOut(table [][]string, right []bool) string {
	widths := make([]int, len(right))
	for _, cells := range table {
		for i, c := range cells {
			widths[i] = max(widths[i], len(c))
		}
	}
	var b strings.Builder
	for _, cells := range table {
		line := ""
		for i, c := range cells {
			gap := strings.Repeat(" ", widths[i]-len(c))
			if right[i] {
				c = gap + c
			} else {
				c += gap
			}
			line += c + "  "
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
