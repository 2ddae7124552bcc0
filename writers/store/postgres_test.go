package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

func TestURLsAreReadWithCare(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "") // and unset when the test ends
			os.Unsetenv(name)
		}
	}
	for _, c := range []struct{ state, name, sslmode, fault string }{
		{"postgres://ada:s3cret@db.example.com/billing", "postgres://ada@db.example.com/billing", "verify-full", ""},
		{"postgresql://ada@db.example.com:5433/billing?sslmode=require", "postgresql://ada@db.example.com:5433/billing", "require", ""},
		{"postgres://ada@127.0.0.1/billing?password=s3cret", "postgres://ada@127.0.0.1/billing", "disable", ""},
		{"postgres://ada@localhost/billing?sslmode=verify-ca", "postgres://ada@localhost/billing", "verify-ca", ""},
		{"postgres://ada@[::1]/billing", "postgres://ada@[::1]/billing", "disable", ""},
		{"postgres://ada@/billing?host=/run/postgresql", "postgres://ada@/billing?host=/run/postgresql", "disable", ""},
		{"postgres://ada@one.example.com,two.example.com/billing", "postgres://ada@one.example.com,two.example.com/billing", "verify-full", ""},
		{"postgres://ada:s3cret%2Fx%40@db.example.com/billing", "postgres://ada@db.example.com/billing", "verify-full", ""},
		{state: "postgres://ada:s3cret/x@db.example.com/billing", fault: "cannot be read"},
		{state: "postgres://ada:s3cret#x@db.example.com/billing", fault: "cannot be read"},
		{state: "postgres://ada:s3cret@db.example.com/billing#x", fault: "cannot be read"},
		{state: "postgres://ada:s3cret@db.example.com", fault: "names no database"},
		{state: "postgres://ada:s3cret@db.example.com/a/b", fault: "names no database"},
		{state: "postgres:///billing", fault: "names no host"},
		{state: "postgres://db.example.com/billing?sslmode=require&sslmode=disable", fault: "sslmode twice"},
		{state: "postgres://ada:s3cret@db.example.com/billing?sslmode=prefer", fault: "without encryption"},
		{state: "postgres://ada:s3cret@db.example.com/billing?sslmode=no", fault: "sslmode"},
		{state: "postgres://ada:s3cret@db.example.com/billing?connect_timeout=s3cret", fault: "connect_timeout"},
		{state: "mysql://ada:s3cret@db.example.com/billing", fault: "mysql://"},
	} {
		config, name, err := postgresConfig(c.state, ReadWrite)
		if c.fault == "" && (err != nil || name != c.name || string(config.SSLMode) != c.sslmode || config.TargetSessionAttrs != "read-write") {
			t.Errorf("%s: %q, sslmode %s, %v", c.state, name, config.SSLMode, err)
		}
		if c.fault != "" {
			wantError(t, err, c.fault)
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the message tells the password: %v", c.state, err)
			}
		}
	}
	t.Setenv("PGSSLMODE", "verify-ca")
	if config, _, err := postgresConfig("postgres://ada@db.example.com/billing", ReadWrite); err != nil || config.SSLMode != "verify-ca" {
		t.Errorf("PGSSLMODE is not honoured: %s, %v", config.SSLMode, err)
	}
}

// own is a server that a test may stop and restart.
func own(t *testing.T) *storetest.Server {
	t.Helper()
	server.Get(t) // skips or fails where there is none
	s, err := storetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPasswordsAreAskedForAndNeverTold(t *testing.T) {
	s := own(t)
	s.Exec(t, "postgres", "CREATE ROLE ada LOGIN PASSWORD 's3cret'", "CREATE DATABASE billing OWNER ada")
	s.RequirePasswords(t)
	at := func(userinfo string) string {
		return strings.Replace(s.URL("ada", "billing"), "ada@", userinfo+"@", 1)
	}
	open(t, at("ada:s3cret"), ReadWrite)
	for _, state := range []string{at("ada"), at("ada:s3cretive")} {
		_, err := Open(t.Context(), state, ReadWrite)
		wantError(t, err, "ada@127.0.0.1", "billing", "PGPASSWORD")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %q tells a password", err)
		}
	}
	t.Setenv("PGPASSWORD", "s3cret")
	open(t, at("ada"), ReadOnly)
	t.Setenv("PGPASSWORD", "")
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("127.0.0.1:*:*:ada:s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", file)
	open(t, at("ada"), ReadOnly)
	// The server has no TLS, and none is done without unnoticed.
	_, err := Open(t.Context(), strings.Replace(at("ada"), "sslmode=disable", "sslmode=require", 1), ReadOnly)
	wantError(t, err, "SSL is not enabled", "sslmode=disable")
	_, err = Open(t.Context(), strings.Replace(at("ada"), "billing", "bills", 1), ReadOnly)
	wantError(t, err, `database "bills" does not exist`)
}

// certificate makes a certificate for 127.0.0.1 that signs itself, and its key.
func certificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(cryptorand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// TestServersProveWhoTheyAre: with verify-full, a certificate that nobody vouches for ends it.
func TestServersProveWhoTheyAre(t *testing.T) {
	s := own(t)
	signed, key := certificate(t)
	s.EncryptWith(t, signed, key)
	file := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(file, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	state := func(sslmode string) string {
		return strings.Replace(s.Fresh(t), "sslmode=disable", "sslmode="+sslmode, 1)
	}
	encrypted := func(st *Store) (yes bool) {
		t.Helper()
		if err := st.get(t.Context(), &yes, `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	for patient := range 100 { // it reads its new configuration in its own time
		probe, err := Open(t.Context(), state("require"), ReadWrite)
		if err == nil {
			if err := probe.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if patient == 99 {
			t.Fatal(err)
		}
	}
	_, err := Open(t.Context(), state("verify-full"), ReadWrite)
	wantError(t, err, "certificate", "sslrootcert")
	if !encrypted(open(t, state("require"), ReadWrite)) || !encrypted(open(t, state("verify-full&sslrootcert="+file), ReadWrite)) {
		t.Error("it is not encrypted")
	}
	elsewhere := strings.Replace(state("verify-full&sslrootcert="+file), "127.0.0.1", "localhost", 1)
	_, err = Open(t.Context(), elsewhere, ReadWrite)
	wantError(t, err, "localhost", "certificate")
}

// proxied opens a database behind a proxy that can break the connection.
func proxied(t *testing.T, s *storetest.Server, state string) (*storetest.Proxy, *Store) {
	t.Helper()
	proxy := s.Proxy(t)
	u, err := url.Parse(state)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = proxy.Address()
	return proxy, open(t, u.String(), ReadWrite)
}

// TestLostCommitIsLookedUp cuts the connection at COMMIT: before the server has it, after, and where only its answer is
// lost. Whatever comes of it, the commit is there just once, and the caller is told so.
func TestLostCommitIsLookedUp(t *testing.T) {
	for name, cut := range map[string]storetest.Cut{
		"before": storetest.BeforeCommit, "forwarded": storetest.AfterCommit, "answer dropped": storetest.DropAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			state := server.Get(t).Fresh(t)
			proxy, s := proxied(t, server.Get(t), state)
			l := acquire(t, s, minute)
			c := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{}, "n1", "n2")}}
			proxy.Next(cut)
			if err := s.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if n := proxy.Cuts(); n != 1 {
				t.Fatalf("it was cut %d times", n)
			}
			direct := open(t, state, ReadOnly)
			periods, err := direct.Periods(t.Context())
			if err != nil || len(periods) != 1 || count(t, direct, "outbox") != 2 || count(t, direct, "run WHERE state = 'committed'") != 1 {
				t.Errorf("%d periods, %v", len(periods), err)
			}
		})
	}
}

// TestLostCommitIsNotGuessed: where the lease was taken while the answer was lost, the run was committed all the same if
// its COMMIT had arrived, and not if it had not.
func TestLostCommitIsNotGuessed(t *testing.T) {
	for name, test := range map[string]struct {
		cut       storetest.Cut
		committed bool
	}{"before": {storetest.BeforeCommit, false}, "answer dropped": {storetest.DropAnswer, true}} {
		t.Run(name, func(t *testing.T) {
			state := server.Get(t).Fresh(t)
			proxy, s := proxied(t, server.Get(t), state)
			thief := open(t, state, ReadWrite)
			l := acquire(t, s, minute)
			c := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{})}}
			proxy.Next(test.cut)
			proxy.OnCut(func() { acquire(t, thief, 3*minute) })
			err := s.Commit(t.Context(), c)
			if test.committed && err != nil || !test.committed && !errors.Is(err, ErrFenced) {
				t.Errorf("error %v", err)
			}
			if n := count(t, thief, "revision"); n == 1 != test.committed {
				t.Errorf("%d revisions", n)
			}
		})
	}
}

// TestUnknownCommitIsSaid: the database is gone with the answer.
func TestUnknownCommitIsSaid(t *testing.T) {
	state := server.Get(t).Fresh(t)
	proxy, s := proxied(t, server.Get(t), state)
	s.patience = 200 * time.Millisecond
	l := acquire(t, s, minute)
	c := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{})}}
	proxy.Next(storetest.DropAnswer)
	proxy.OnCut(proxy.Refuse)
	err := s.Commit(t.Context(), c)
	var unknown *UnknownError
	if !errors.As(err, &unknown) {
		t.Fatalf("error %v", err)
	}
	wantError(t, err, "not known whether run 1 was committed", "run the same command again")
	if count(t, open(t, state, ReadOnly), "revision") != 1 {
		t.Error("the test is about a commit that is there")
	}
}

// TestLostAnswersDoNoHarm: everything but the commit is simply done again.
func TestLostAnswersDoNoHarm(t *testing.T) {
	state := server.Get(t).Fresh(t)
	proxy, s := proxied(t, server.Get(t), state)
	lost := func(what string, do func() error) {
		t.Helper()
		cuts := proxy.Cuts()
		proxy.Next(storetest.DropAnswer)
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if proxy.Cuts() == cuts {
			t.Errorf("%s: nothing was cut", what)
		}
	}
	var l Lease
	var id int64
	lost("acquire", func() (err error) {
		l, err = s.AcquireLease(t.Context(), "demo", self(t), minute)
		return err
	})
	lost("start", func() (err error) {
		id, err = s.StartRun(t.Context(), Run{Site: "demo", Token: l.Token, Process: self(t)})
		return err
	})
	lost("renew", func() error { return s.RenewLease(t.Context(), l, 2*minute) })
	lost("put states", func() error { return s.PutStates(t.Context(), l, day(t, 1, 1, Hash{}).Shards) })
	lost("finish", func() error { return s.FinishRun(t.Context(), id, Outcome{State: RunFailed}) })
	lost("sweep", func() error { return s.SweepStates(t.Context(), l) })
	lost("apply", func() error {
		plan, err := s.PlanCatalog(t.Context(), &rating.Draft{Accounts: []rating.AccountDraft{{ID: "a"}}})
		if err == nil {
			_, err = s.ApplyCatalog(t.Context(), plan, CatalogForm{Checked: Hash{1}})
		}
		return err
	})
	lost("release", func() error { return s.ReleaseLease(t.Context(), l) })
	if count(t, s, "lease WHERE token = 1 AND owner = ''") != 1 || count(t, s, "accounts") != 1 {
		t.Error("something is not there")
	}
}

// TestServerCrashesInTheMidst: the commit under way is made again when the server is back.
func TestServerCrashesInTheMidst(t *testing.T) {
	server := own(t)
	s := open(t, server.Fresh(t), ReadWrite)
	l := acquire(t, s, minute)
	crashed := false
	c := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{}, "n1")}}
	c.Hook = func(step string) error {
		if step != StepOutbox || crashed {
			return nil
		}
		crashed = true
		return errors.Join(server.Crash(), server.Run())
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(server.Crash(), server.Run()); err != nil {
		t.Fatal(err)
	}
	if periods, err := s.Periods(t.Context()); err != nil || len(periods) != 1 { // with connections that are all dead
		t.Errorf("%d periods, %v", len(periods), err)
	}
}

// TestCommitHoldsTheLease: while a commit is under way nobody takes the lease, however late its heartbeat is.
func TestCommitHoldsTheLease(t *testing.T) {
	state := server.Get(t).Fresh(t)
	s, other := open(t, state, ReadWrite), open(t, state, ReadWrite)
	l := acquire(t, s, minute)
	c := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{})}}
	c.Hook = func(step string) error {
		if step != StepSums {
			return nil
		}
		_, err := other.AcquireLease(context.Background(), "demo", self(t), 5*minute)
		var held *HeldError
		if !errors.As(err, &held) || held.Owner != "ada" {
			t.Errorf("error %v", err)
		}
		return nil
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	acquire(t, other, 5*minute)
}

// TestReadOnlyServersAreNamed: a replica, or what became one, takes no writes.
func TestReadOnlyServersAreNamed(t *testing.T) {
	s := server.Get(t)
	state := s.Fresh(t)
	writer := open(t, state, ReadWrite)
	l := acquire(t, writer, minute)
	u, err := url.Parse(state)
	if err != nil {
		t.Fatal(err)
	}
	s.Exec(t, "postgres", "ALTER DATABASE "+strings.Trim(u.Path, "/")+" SET default_transaction_read_only = on")
	_, err = Open(t.Context(), state, ReadWrite)
	wantError(t, err, "read-only", "name the primary")
	open(t, state, ReadOnly)
	// A connection that was opened while it took writes.
	if _, err := writer.write.Exec("SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	err = writer.snapshot(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec("UPDATE lease SET token = 9")
		return err
	})
	wantError(t, err, "25006", "name the primary")
	if err := writer.RenewLease(t.Context(), l, minute); err != nil {
		t.Error("a transaction says that it writes, so this default is none: ", err)
	}
}

// meanwhile runs do while a transaction of somebody else has run a statement, and commits that once do waits for it, or
// has ended.
func meanwhile(t *testing.T, s *Store, statement string, do func() error) error {
	t.Helper()
	tx, err := s.write.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(statement); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	for waits := false; !waits && len(done) == 0; {
		err := s.get(t.Context(), &waits, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted`)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return <-done
}

// TestTwoSitesDoNotShareADatabase: also where both take the lease of an empty one at once.
func TestTwoSitesDoNotShareADatabase(t *testing.T) {
	s := open(t, server.Get(t).Fresh(t), ReadWrite)
	err := meanwhile(t, s, `INSERT INTO lease VALUES ('north', 1, 'ada', '', 0, 0, 0)`, func() error {
		_, err := s.AcquireLease(context.Background(), "south", self(t), minute)
		return err
	})
	wantError(t, err, "is the database of site north", "give each site a database of its own")
}

// TestCatalogIsAppliedToWhatWasPlanned: what somebody else writes in the same moment is not overwritten, and not mixed with
// what was checked without it.
func TestCatalogIsAppliedToWhatWasPlanned(t *testing.T) {
	s := open(t, server.Get(t).Fresh(t), ReadWrite)
	plan, err := s.PlanCatalog(t.Context(), &rating.Draft{Accounts: []rating.AccountDraft{{ID: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	err = meanwhile(t, s, `INSERT INTO meters (id) VALUES ('m')`, func() error {
		_, err := s.ApplyCatalog(context.Background(), plan, CatalogForm{Checked: Hash{1}})
		return err
	})
	if !errors.Is(err, ErrCatalogMoved) || count(t, s, "accounts") != 0 {
		t.Errorf("error %v", err)
	}
}

// TestGuards: what an ordering system writes wrong is refused where it is written.
func TestGuards(t *testing.T) {
	s := open(t, server.Get(t).Fresh(t), ReadWrite)
	const columns = `packages (id, account, kind, quota, effective, expires, covers)`
	pack := func(values string) string { return "INSERT INTO " + columns + " VALUES (" + values + ")" }
	for _, statement := range []string{
		`INSERT INTO accounts (id) VALUES ('a')`, `INSERT INTO meters (id, scale) VALUES ('m', '2')`,
		pack(`'p', 'a', 'pay_per_use', '12.50', '2026-10-01', '2026-10-01', '[{"meter": "m"}]'`),
		`INSERT INTO package_changes VALUES ('p', '2026-10-05T08:00:00+02:00', 'renewed', '2027-10-01')`,
		`INSERT INTO topups VALUES ('a', '2026-10-05', '10')`,
		`INSERT INTO alert_rules (id, type, thresholds) VALUES ('r', 'percentage', '["20"]')`,
		`INSERT INTO prices (id, meter, model, price) VALUES ('x', 'm', 'flat', '0.5')`,
	} {
		if _, err := s.write.Exec(statement); err != nil {
			t.Errorf("%v: %s", err, statement)
		}
	}
	const covers = `'[{"meter": "m"}]'`
	for statement, constraint := range map[string]string{
		`INSERT INTO accounts (id) VALUES ('')`:                                                           "accounts_id",
		`INSERT INTO accounts (id) VALUES (' b')`:                                                         "accounts_id_is_no_id",
		`INSERT INTO accounts (id, payer) VALUES ('b', 'nobody')`:                                         "accounts_payer_account_fkey",
		`INSERT INTO accounts (id, currency) VALUES ('b', 'usd')`:                                         "accounts_currency_is_no_code",
		`INSERT INTO accounts (id, balance) VALUES ('b', '1,5')`:                                          "accounts_balance_is_no_decimal",
		`INSERT INTO accounts (id, email) VALUES ('b', 'x')`:                                              "accounts_email_is_no_address",
		pack(`'q', 'nobody', 'pay_per_use', '1', '2026-10-01', '2026-11-01', ` + covers):                  "packages_account_fkey",
		pack(`'q', 'a', 'prepaid', '1', '2026-10-01', '2026-11-01', ` + covers):                           "packages_kind_is_unknown",
		pack(`'q', 'a', 'pay_per_use', '', '2026-10-01', '2026-11-01', ` + covers):                        "packages_quota_is_no_quantity",
		pack(`'q', 'a', 'pay_per_use', '-1', '2026-10-01', '2026-11-01', ` + covers):                      "packages_quota_is_no_quantity",
		pack(`'q', 'a', 'pay_per_use', '1e19', '2026-10-01', '2026-11-01', ` + covers):                    "packages_quota_is_no_quantity",
		pack(`'q', 'a', 'pay_per_use', 'NaN', '2026-10-01', '2026-11-01', ` + covers):                     "packages_quota_is_no_quantity",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-02-29', '2026-11-01', ` + covers):                       "packages_effective_is_no_moment",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01T08:00:00', '2026-11-01', ` + covers):              "packages_effective_is_no_moment",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01', '', ` + covers):                                 "packages_expires_is_no_moment",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-02', '2026-10-01', ` + covers):                       "packages_expires_before",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01', '2026-11-01', ''`):                              "packages_covers_nothing",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01', '2026-11-01', '[]'`):                            "packages_covers_nothing",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01', '2026-11-01', '{}'`):                            "packages_covers_nothing",
		pack(`'q', 'a', 'pay_per_use', '1', '2026-10-01', '2026-11-01', '[{'`):                            "json",
		pack(`'p', 'a', 'pay_per_use', '1', '2026-10-01', '2026-11-01', ` + covers):                       "packages_pkey",
		`INSERT INTO package_changes VALUES ('q', '2026-10-05', 'revoked', 'true')`:                       "package_changes_package_fkey",
		`INSERT INTO package_changes VALUES ('p', '5 October', 'revoked', 'true')`:                        "package_changes_at_is_no_moment",
		`INSERT INTO package_changes VALUES ('p', '2026-10-05', 'resized', '2027-10-01')`:                 "package_changes_value_does_not_fit",
		`INSERT INTO package_changes VALUES ('p', '2026-10-05', 'cancelled', 'true')`:                     "package_changes_change_check",
		`INSERT INTO topups VALUES ('a', '2026-10-06', '0')`:                                              "topups_amount_is_not_above_0",
		`INSERT INTO topups VALUES ('a', '2026-10-05', '10')`:                                             "topups_pkey",
		`INSERT INTO prices (id, meter, model, account) VALUES ('y', 'm', 'flat', 'nobody')`:              "prices_account_of_its_own_fkey",
		`INSERT INTO alert_rules (id, type, thresholds) VALUES ('s', 'percentage', '')`:                   "alert_rules_thresholds_is_no_list",
		`UPDATE packages SET reset = 'fortnight'`:                                                         "packages_reset_is_unknown",
		`UPDATE packages SET name = E'a\x1fb'`:                                                            "packages_name_has_control_characters",
		`INSERT INTO meters (id, scale) VALUES ('n', '10')`:                                               "meters_scale_is_not_0_to_9",
		`INSERT INTO period (period_start, period_end, period_name, state) VALUES (5, 5, 'x', 'settled')`: "period",
	} {
		_, err := s.write.Exec(statement)
		var refused *pq.Error
		if !errors.As(err, &refused) || !strings.Contains(refused.Constraint+refused.Message, constraint) {
			t.Errorf("%v\n\tis not %s: %s", err, constraint, statement)
		}
	}
}

// TestSchemaIsExplained: every table of an ordering system's has a comment, and so have the tables of drawdown's own.
func TestSchemaIsExplained(t *testing.T) {
	s := open(t, server.Get(t).Fresh(t), ReadWrite)
	silent, err := list[string](t.Context(), s, `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
		AND obj_description(oid) IS NULL ORDER BY 1`)
	if diff := cmp.Diff([]string{"goose_db_version"}, silent); err != nil || diff != "" {
		t.Error(diff, err)
	}
}

// documented gives the statements of the SQL blocks in docs/operations.md.
func documented(t *testing.T) (blocks [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```sql\n")
	for found {
		block, after, _ := strings.Cut(rest, "```")
		var statements []string
		for statement := range strings.SplitSeq(block, ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				statements = append(statements, statement)
			}
		}
		blocks = append(blocks, statements)
		_, rest, found = strings.Cut(after, "```sql\n")
	}
	return blocks
}

// TestRolesOfTheDocs: the roles that docs/operations.md sets up can do what they are for, and nothing else.
func TestRolesOfTheDocs(t *testing.T) {
	server := own(t)
	setup := documented(t)
	if len(setup) != 3 {
		t.Fatalf("%d blocks of SQL", len(setup))
	}
	server.Exec(t, "postgres", setup[0]...)
	server.Exec(t, "drawdown", setup[1]...)
	as := func(role string) string { return server.URL(role, "drawdown") }
	_, err := Open(t.Context(), as("drawdown"), ReadWrite)
	wantError(t, err, "permission denied", "docs/operations.md")
	_, err = Open(t.Context(), as("drawdown_reader"), ReadOnly)
	if !errors.Is(err, ErrEmpty) {
		t.Errorf("error %v", err)
	}
	apply(t, open(t, as("drawdown_owner"), ReadWrite), &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}}, Meters: []rating.MeterDraft{{ID: "m"}},
	})
	server.Exec(t, "drawdown", setup[2]...)

	settler := open(t, as("drawdown"), ReadWrite)
	apply(t, settler, &rating.Draft{Accounts: []rating.AccountDraft{{ID: "a", Name: "Ada"}, {ID: "b"}}})
	l := acquire(t, settler, minute)
	p := day(t, 1, 1, Hash{}, "n")
	err = settler.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, settler, l), Periods: []PeriodCommit{p}, Objects: []Object{{Key: "o"}}})
	if err := errors.Join(err, settler.RenewLease(t.Context(), l, minute), settler.ReleaseLease(t.Context(), l)); err != nil {
		t.Error(err)
	}
	reader := open(t, as("drawdown_reader"), ReadOnly)
	load(t, reader)
	_, err = reader.Runs(t.Context(), 9)
	_, _, opening := reader.OpeningState(t.Context(), p.PeriodEnd, 0)
	_, objects := reader.Objects(t.Context())
	if err := errors.Join(err, opening, objects); err != nil {
		t.Error(err)
	}
	allowed(t, server, "ordering", map[string]bool{
		`INSERT INTO accounts (id, balance) VALUES ('c', '0')`: true,
		`INSERT INTO packages (id, account, kind, quota, effective, expires, covers)
			VALUES ('p', 'a', 'pay_per_use', '1', '2026-10-01', '2026-10-31', '[{"meter": "m"}]')`: true,
		`UPDATE accounts SET name = 'Ada' WHERE id = 'a'`:               true,
		`UPDATE packages SET priority = '1' WHERE id = 'p'`:             true,
		`INSERT INTO topups VALUES ('a', '2026-10-05', '1')`:            true,
		`SELECT id FROM meters`:                                         true,
		`UPDATE topups SET amount = '2'`:                                false,
		`DELETE FROM packages`:                                          false,
		`INSERT INTO meters (id) VALUES ('n')`:                          false,
		`UPDATE lease SET token = 9`:                                    false,
		`SELECT * FROM run`:                                             false,
		`SELECT * FROM state`:                                           false,
		`CREATE TABLE mine (id TEXT)`:                                   false,
		`ALTER TABLE packages DROP CONSTRAINT packages_kind_is_unknown`: false,
	})
	allowed(t, server, "drawdown", map[string]bool{
		`DELETE FROM packages`: false, `DELETE FROM state WHERE sha256 = ''`: true, `DELETE FROM revision`: false, `TRUNCATE outbox`: false,
		`CREATE TABLE mine (id TEXT)`: false, `DROP TABLE run`: false,
	})
	allowed(t, server, "drawdown_reader", map[string]bool{
		`SELECT * FROM state`: true, `UPDATE state SET payers = 0`: false, `INSERT INTO accounts (id) VALUES ('x')`: false,
		`UPDATE lease SET token = 9`: false,
	})
}

// allowed runs statements as a role, and undoes them.
func allowed(t *testing.T, server *storetest.Server, role string, statements map[string]bool) {
	t.Helper()
	db, err := sqlx.Open("postgres", server.URL(role, "drawdown"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for statement, may := range statements {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(statement, "UPDATE packages SET priority") {
			_, err = tx.Exec(`INSERT INTO packages (id, account, kind, quota, effective, expires, covers)
				VALUES ('p', 'a', 'pay_per_use', '1', '2026-10-01', '2026-10-31', '[{"meter": "m"}]')`)
		}
		if err == nil {
			_, err = tx.Exec(statement)
		}
		denied := pq.As(err, "42501") != nil
		if may && err != nil || !may && !denied {
			t.Errorf("%s: %v: %s", role, err, statement)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}
