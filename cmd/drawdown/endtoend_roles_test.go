package main

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"drawdown/readers/bucket/buckettest"
	"drawdown/writers/store/storetest"
)

// rolesNow is when the site of init, of three days in October, is looked at.
const rolesNow = "2026-10-04T09:00:00Z"

// rolesSite is the site of init with its state in PostgreSQL, under the roles of docs/operations.md, and its usage and its
// settlements in a bucket, for a settler and a reader with the documented rights.
type rolesSite struct {
	t        *testing.T
	dir      string
	server   *storetest.Server
	endpoint string
	policies map[string][]map[string]any
	s3       *buckettest.Server
}

// operationsSQL gives the statements of the SQL blocks in docs/operations.md.
func operationsSQL(t *testing.T) (blocks [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```sql\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		statements := strings.Split(strings.TrimSuffix(strings.TrimSpace(block), ";"), ";\n")
		blocks = append(blocks, statements)
	}
	if len(blocks) != 3 {
		t.Fatalf("docs/operations.md has %d blocks of SQL", len(blocks))
	}
	return blocks
}

func newRolesSite(t *testing.T) *rolesSite {
	t.Helper()
	s := &rolesSite{t: t, dir: filepath.Join(fastDir(t), "site"), server: server.Get(t), s3: buckettest.Start(t)}
	s.endpoint = s.s3.Endpoint
	setup := operationsSQL(t)
	s.server.Exec(t, "postgres", setup[0]...)
	t.Cleanup(func() {
		s.server.Exec(t, "postgres", "DROP DATABASE drawdown WITH (FORCE)", "DROP ROLE drawdown, drawdown_owner, drawdown_reader, ordering")
	})
	s.server.Exec(t, "drawdown", setup[1]...)
	s.must(exitDone, "drawdown_owner", "init", s.dir)
	s.must(exitDone, "drawdown_owner", "catalog", "apply", filepath.Join(s.dir, "catalog.yaml"))
	s.server.Exec(t, "drawdown", setup[2]...)
	usage := openTestBucket(t, s.endpoint, "usage")
	upload(t, usage, filepath.Join(s.dir, "usage"))
	statements := documentedPolicies(t)
	s.s3.AddUser(t, "settler", "settler-secret")
	s.s3.AddUser(t, "reader", "reader-secret")
	statements[3]["Action"] = []string{"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}
	s.policies = map[string][]map[string]any{"settler": statements}
	s.s3.SetPolicy(t, "settler", statements)
	buckettest.As(t, "settler", "settler-secret")
	s.must(exitDone, "drawdown", "settle")
	return s
}

// run runs a command as a role of the database.
func (s *rolesSite) run(role string, args ...string) (int, string) {
	s.t.Helper()
	var out strings.Builder
	env := s.environment(role)
	args = append([]string{"--now", rolesNow}, args...)
	if _, err := os.Stat(filepath.Join(s.dir, "drawdown.yaml")); err == nil {
		args = append([]string{"--config", filepath.Join(s.dir, "drawdown.yaml")}, args...)
	}
	code := run(s.t.Context(), process{args: args, clock: time.Now, stdout: &out, stderr: &out, env: env})
	return code, out.String()
}

// environment names the stores to a command that connects as a role of the database.
func (s *rolesSite) environment(role string) []string {
	return []string{
		"DRAWDOWN_STATE=" + s.server.URL(role, "drawdown"), "DRAWDOWN_USAGE_URL=" + buckettest.URL(s.endpoint, "usage"),
		"DRAWDOWN_OUTPUT_URL=" + buckettest.URL(s.endpoint, "settlements"),
	}
}

func (s *rolesSite) must(code int, role string, args ...string) string {
	s.t.Helper()
	got, out := s.run(role, args...)
	if got != code {
		s.t.Fatalf("%s: %v ended with %d: %s", role, args, got, out)
	}
	return out
}

// content is all that is stored, as its owners see it.
func (s *rolesSite) content() map[string]string {
	s.t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		defer os.Setenv(name, os.Getenv(name))
	}
	buckettest.As(s.t, buckettest.AccessKey, buckettest.Secret)
	site := &site{t: s.t, state: s.server.URL("postgres", "drawdown"), remote: s.endpoint}
	content := site.output()
	for table, rows := range site.visible() {
		content[table] = strings.Join(rows, "\n")
	}
	for _, table := range []string{"run", "lease", "accounts", "packages", "outbox", "message"} {
		content["all of "+table] = strings.Join(site.query("SELECT * FROM "+table+" ORDER BY 1"), "\n")
	}
	return content
}

// readCommands are all commands that only look, by name, with the arguments that each is tried with.
func (s *rolesSite) readCommands() map[string][][]string {
	t := s.t
	t.Helper()
	out, with := t.TempDir(), filepath.Join(s.dir, "big.yaml")
	if err := os.WriteFile(with, []byte("packages:\n  - {id: big, kind: pay_per_use, quota: 5000, price_paid: 99, covers: [{meter: sms}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	days := []string{"--from", "2026-10-01", "--to", "2026-10-04"}
	reads := map[string][][]string{
		"catalog":  {{"show"}, {"check", filepath.Join(s.dir, "catalog.yaml")}, {"show", "--period", "2026-10-02"}, {"show", "--run", "1"}},
		"settle":   {{"--dry-run"}},
		"backfill": {slices.Concat(days, []string{"--dry-run"})},
		"close":    {{"--until", "2026-10-04", "--dry-run"}},
		"diff":     {{"2026-10-02", "--from", "1", "--to", "1"}},
		"packages": {{}, {"--account", "acme"}, {"--at", "2026-10-02"}},
		"periods":  {{}},
		"runs":     {{}},
		"verify":   {{}, {"--deep"}},
		"schedule": {{"--dry-run"}},
		"explain":  {{"r08"}, {"r08", "--revision", "1"}},
		"report":   {{"--out", filepath.Join(out, "report.html")}, {"--account", "acme", "--out", filepath.Join(out, "acme.html")}},
		"simulate": {slices.Concat(days, []string{"--account", "acme", "--with", with})},
		"gc":       {{}},
		"remind":   {{"--dry-run"}},
		"notify":   {{"preview", "usage_alert"}},
		"notices":  {{}, {"--account", "acme", "--state", "pending"}},
		"inbox":    {{"--account", "acme"}},
		"version":  {{}},
	}
	for _, format := range []string{"csv", "xlsx", "parquet", "statement", "revenue", "focus"} {
		args := slices.Concat(days, []string{"--format", format, "--out", filepath.Join(out, format)})
		if format == "focus" {
			args = append(args, "--provider", "Acme Cloud")
		}
		reads["export"] = append(reads["export"], args)
	}
	return reads
}

// TestReadersNeedNoRightToWrite: each command that only looks works for the role drawdown_reader, and with the right to read
// objects alone; it changes nothing. A command that is new must be put into one of these lists.
func TestReadersNeedNoRightToWrite(t *testing.T) {
	s := newRolesSite(t)
	s.must(exitDone, "drawdown", "remind")
	reads := s.readCommands()
	writes := []string{"demo", "init", "reports", "test", "completion", "man"} // or have no site
	for i := range reflect.TypeFor[cli]().NumField() {
		field := reflect.TypeFor[cli]().Field(i)
		if _, command := field.Tag.Lookup("cmd"); !command {
			continue
		}
		if name := strings.ToLower(field.Name); reads[name] == nil && !slices.Contains(writes, name) {
			t.Errorf("%s is neither tried as a reader, nor said to have nothing to read", name)
		}
	}
	policy := slices.Clone(s.policies["settler"])
	for _, statement := range policy {
		if fmt.Sprint(statement["Action"]) != "s3:ListBucket" {
			statement["Action"] = "s3:GetObject"
		}
	}
	s.s3.SetPolicy(t, "reader", policy)
	before := s.content()
	buckettest.As(t, "reader", "reader-secret")
	for _, command := range keysOf(reads) {
		for _, args := range reads[command] {
			for _, format := range [][]string{nil, {"--json"}} {
				if format != nil && command == "export" {
					continue // into the same folder
				}
				all := slices.Concat(format, []string{command}, args)
				if code, said := s.run("drawdown_reader", all...); code != exitDone && code != exitWaiting {
					t.Errorf("%v ended with %d: %s", all, code, said)
				}
			}
		}
	}
	for _, args := range [][]string{{"settle"}, {"remind"}, {"gc", "--apply"}, {"inbox", "--account", "acme", "--mark-read"}} {
		if code, said := s.run("drawdown_reader", args...); code != exitFailed || !strings.Contains(said, "permission denied") {
			t.Errorf("%v ended with %d: %s", args, code, said)
		}
	}
	same(t, "what is stored", before, s.content())
}

// wrongRow is one that an ordering system may write by mistake: the database refuses it by a constraint, or the next run
// finds it and says something of it.
type wrongRow struct {
	table, columns, values string
	refused                string // the constraint, or the error's code
	found                  []string
}

const packageColumns = "id, account, kind, quota, effective, expires, covers"

func wrongRows() []wrongRow {
	pack := func(more, values string) (string, string) {
		base := []string{"'ID'", "'acme'", "'pay_per_use'", "'10'", "'2026-10-01'", "'2026-10-31'", `'[{"meter": "sms"}]'`}
		columns := strings.Split(packageColumns, ", ")
		for i, c := range columns {
			if c == more {
				base[i] = values
				return packageColumns, strings.Join(base, ", ")
			}
		}
		return packageColumns + ", " + more, strings.Join(base, ", ") + ", " + values
	}
	var rows []wrongRow
	packages := func(column, value, refused string, found ...string) {
		columns, values := pack(column, "'"+value+"'")
		rows = append(rows, wrongRow{"packages", columns, values, refused, found})
	}
	add := func(table, columns, values, refused string, found ...string) {
		rows = append(rows, wrongRow{table, columns, values, refused, found})
	}
	add("accounts", "id", "''", "235")
	add("accounts", "id", "' a'", "accounts_id_is_no_id")
	add("accounts", "id", "E'a\\x07'", "accounts_id_is_no_id")
	add("accounts", "id", "'acme'", "accounts_pkey")
	add("accounts", "id", "NULL", "23502")
	add("accounts", "id, payer", "'ID', 'nobody'", "accounts_payer_account_fkey")
	add("accounts", "id, payer", "'ID', 'acme-lab'", "", "ID", "payer")
	add("accounts", "id, time_zone", "'ID', 'Mars/Phobos'", "", "ID", "Mars/Phobos")
	add("accounts", "id, currency", "'ID', 'euro'", "accounts_currency_is_no_code")
	add("accounts", "id, email", "'ID', 'maria'", "accounts_email_is_no_address")
	add("accounts", "id, phone", "'ID', 'call me'", "accounts_phone_is_no_number")
	add("accounts", "id, balance", "'ID', 'a lot'", "accounts_balance_is_no_decimal")
	add("accounts", "id, balance", "'ID', '0.12345678901'", "", "ID", "balance")
	add("accounts", "id, name", "'ID', E'a\\nb'", "accounts_name_has_control_characters")
	packages("id", "acme-sms", "packages_pkey")
	packages("account", "nobody", "packages_account_fkey")
	packages("kind", "prepaid", "packages_kind_is_unknown")
	packages("quota", "-1", "packages_quota_is_no_quantity")
	packages("quota", "1e30", "packages_quota_is_no_quantity")
	packages("quota", "0.5", "", "ID", "quota")
	packages("scale", "10", "packages_scale_is_not_0_to_9")
	packages("effective", "soon", "packages_effective_is_no_moment")
	packages("effective", "2026-02-30", "packages_effective_is_no_moment")
	packages("effective", "2026-10-31T08:00:00", "packages_effective_is_no_moment")
	packages("expires", "2026-09-30", "packages_expires_before_it_is_effective")
	packages("expires", "2026-10-01T00:00:00+14:00", "", "ID", "expires")
	packages("covers", "", "packages_covers_nothing")
	packages("covers", "[]", "packages_covers_nothing")
	packages("covers", `[{"meter": "sms"`, "22P02")
	packages("covers", `[{"meter": "telex"}]`, "", "ID", "telex")
	packages("covers", `[{"metre": "sms"}]`, "", "ID", "metre")
	packages("covers", `[{"meter": "sms", "rate": "0"}]`, "", "ID", "rate")
	packages("covers", `[{"meter": "sms", "rate": "0.5"}]`, "", "ID", "rate")
	packages("covers", `[{"meter": "sms", "hours": "25:00-26:00"}]`, "", "ID", "hours")
	packages("covers", `[{"meter": "sms", "where": {"region": {}}}]`, "", "ID", "where")
	packages("priority", "1.5", "packages_priority_is_no_whole_number")
	packages("source", "gift", "packages_source_is_unknown")
	packages("shared", "perhaps", "packages_shared_is_not_true_or_false")
	packages("reset", "fortnight", "packages_reset_is_unknown")
	packages("reset", "year", "", "ID", "reset")
	packages("rollover_max", "-1", "packages_rollover_max_is_no_quantity")
	packages("grace_days", "-1", "packages_grace_days_is_not_0_to_3650")
	packages("retention_days", "4000", "packages_retention_days_is_not_0_to_3650")
	packages("price_paid", "free", "packages_price_paid_is_no_decimal")
	packages("currency", "$", "packages_currency_is_no_code")
	packages("created", "then", "packages_created_is_no_moment")
	const changes = "package, at, change, value"
	add("package_changes", changes, "'nothing', '2026-10-02', 'revoked', 'true'", "package_changes_package_fkey")
	add("package_changes", changes, "'acme-sms', 'soon', 'revoked', 'true'", "package_changes_at_is_no_moment")
	add("package_changes", changes, "'acme-sms', '2026-10-05', 'revoked', 'yes'", "package_changes_value_does_not_fit")
	add("package_changes", changes, "'acme-sms', '2026-10-05', 'resized', '-5'", "package_changes_value_does_not_fit")
	add("package_changes", changes, "'acme-sms', '2026-10-05', 'renewed', 'later'", "package_changes_value_does_not_fit")
	add("package_changes", changes, "'acme-sms', '2026-10-05', 'doubled', '2'", "235")
	add("package_changes", changes, "'acme-sms', '2026-10-05', 'extended', '2026-10-06'", "", "acme-sms", "later end")
	add("package_changes", changes, "'globex-daily', '2026-10-05', 'resized', '0.5'", "", "globex-daily", "quota")
	add("topups", "account, at, amount", "'nobody', '2026-10-05', '1'", "topups_account_fkey")
	add("topups", "account, at, amount", "'globex', 'soon', '1'", "topups_at_is_no_moment")
	add("topups", "account, at, amount", "'globex', '2026-10-05', '0'", "topups_amount_is_not_above_0")
	add("topups", "account, at, amount", "'globex', '2026-10-05', '-1'", "topups_amount_is_not_above_0")
	add("topups", "account, at, amount", "'globex', '2026-10-05', 'much'", "topups_amount_is_not_above_0")
	add("topups", "account, at, amount", "'globex', '2026-10-06', '1'", "", "globex", "balance")
	add("topups", "account, at, amount", "'acme-lab', '2026-10-07', '1'", "", "acme-lab")
	for i := range rows {
		id := fmt.Sprintf("wrong-%02d", i)
		rows[i].values = strings.ReplaceAll(rows[i].values, "ID", id)
		for k := range rows[i].found {
			rows[i].found[k] = strings.ReplaceAll(rows[i].found[k], "ID", id)
		}
	}
	return rows
}

// TestWrongOrders: what an ordering system writes wrong, under its documented role, the database refuses there and then, or
// the next run names all of it in one list, and settles nothing until it is mended.
func TestWrongOrders(t *testing.T) {
	s := newRolesSite(t)
	before := s.content()
	ordering, err := sql.Open("postgres", s.server.URL("ordering", "drawdown"))
	if err != nil {
		t.Fatal(err)
	}
	defer ordering.Close()
	var waiting []wrongRow
	refused := map[string]int{}
	for _, row := range wrongRows() {
		statement := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", row.table, row.columns, row.values)
		_, err := ordering.Exec(statement)
		if row.refused == "" {
			if err != nil {
				t.Errorf("refused: %v: %s", err, statement)
			}
			waiting = append(waiting, row)
			continue
		}
		var known *pq.Error
		if known, _ = err.(*pq.Error); known == nil || known.Constraint != row.refused && !strings.HasPrefix(string(known.Code), row.refused) {
			t.Errorf("not refused by %s, but %v: %s", row.refused, err, statement)
		}
		refused[row.table]++
	}
	t.Logf("refused by the database: %v; waiting for the run: %d", refused, len(waiting))
	late := []byte(`{"id":"r99","account":"acme","meter":"sms","quantity":1,"time":"2026-10-03T10:00:00Z"}` + "\n")
	buckettest.As(t, buckettest.AccessKey, buckettest.Secret)
	if err := openTestBucket(t, s.endpoint, "usage").Put(t.Context(), "third.ndjson", bytes.NewReader(late), int64(len(late)), sha256.Sum256(late)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"settle"}, {"settle", "--dry-run"}, {"catalog", "show"}} {
		said := s.must(exitUsage, "drawdown", command...)
		for _, row := range waiting {
			if !slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
				return !slices.ContainsFunc(row.found, func(text string) bool { return !strings.Contains(line, text) })
			}) {
				t.Errorf("%v names no row of %s with %q:\n%s", command, row.table, row.found, said)
			}
		}
	}
	after := s.content()
	for _, content := range []map[string]string{before, after} {
		for _, table := range []string{"run", "lease", "accounts", "packages"} {
			delete(content, "all of "+table)
		}
	}
	same(t, "what was settled", before, after)
	s.server.Exec(t, "drawdown", `DELETE FROM package_changes`, `DELETE FROM topups`, `DELETE FROM packages WHERE id LIKE 'wrong-%'`,
		`DELETE FROM accounts WHERE id LIKE 'wrong-%'`)
	if code, said := s.run("drawdown", "settle"); code != exitDone && code != exitWaiting {
		t.Errorf("when all is mended, settle ends with %d: %s", code, said)
	}
}
