package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
)

// Server is a running PostgreSQL.
type Server struct {
	Port int

	bin, dir  string // of its programs, and of all that it writes
	process   *exec.Cmd
	ended     chan error
	databases atomic.Int64
}

// superuser owns everything in a server of the tests; nobody is asked for a password, unless pg_hba.conf is changed.
const superuser = "postgres"

// settings make a server small and quick. What it holds is lost when the machine goes down, as the tests' folders are.
func settings() []string {
	return []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "full_page_writes=off", "max_connections=200",
		"shared_buffers=64MB", "max_wal_size=4GB", "autovacuum=off", "log_min_messages=fatal", "max_locks_per_transaction=256",
	}
}

// errMissing says that there is no PostgreSQL to start.
var errMissing = errors.New("there is no PostgreSQL here (no initdb on the PATH, in /usr/lib/postgresql/*/bin or in TEST_POSTGRES_BIN)")

// Start starts a server.
func Start() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "drawdown-postgres-*")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	if err = giveAway(dir); err == nil {
		err = s.create()
	}
	if err == nil {
		err = s.Run()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL for tests: %w", err), os.RemoveAll(dir))
	}
	return s, nil
}

// programs finds the newest server that is installed.
func programs() (string, error) {
	var folders []string
	if named := os.Getenv("TEST_POSTGRES_BIN"); named != "" {
		folders = append(folders, named)
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			folders = append(folders, filepath.Dir(initdb))
		}
	}
	debian, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.Reverse(debian)
	for _, folder := range append(folders, debian...) {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil {
			return folder, nil
		}
	}
	return "", errMissing
}

// Program is one of the server's programs, as the user that it runs as: it refuses to run as root.
func (s *Server) Program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "HOME="+s.dir, "LC_ALL=C")
	cmd.SysProcAttr = otherUser()
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) create() error {
	out, err := s.Program("initdb", "-D", s.data(), "-A", "trust", "-U", superuser, "-N", "--no-instructions", "-E", "UTF8",
		"--locale=C").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	return listener.Close()
}

// Run starts the server, which was stopped or is new, and waits until it answers.
func (s *Server) Run() error {
	args := []string{"-D", s.data(), "-p", fmt.Sprint(s.Port)}
	for _, setting := range settings() {
		args = append(args, "-c", setting)
	}
	output := new(strings.Builder)
	s.process, s.ended = s.Program("postgres", args...), make(chan error, 1)
	s.process.Stdout, s.process.Stderr = output, output
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() { s.ended <- s.process.Wait() }()
	db, err := sql.Open("postgres", s.URL(superuser, "postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	patience, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if err = db.PingContext(patience); err == nil {
			return nil
		}
		select {
		case ended := <-s.ended:
			s.ended <- ended
			return fmt.Errorf("it ended (%w): %s", ended, output)
		case <-patience.Done():
			return errors.Join(err, s.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Crash ends the server at once, as a crash does: it recovers when it is run again.
func (s *Server) Crash() error { return s.end(syscall.SIGQUIT) }

// Stop ends the server and keeps its data.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

func (s *Server) end(signal os.Signal) error {
	if err := s.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.ended
	s.ended <- nil
	return nil
}

// Close ends the server and removes all that it wrote.
func (s *Server) Close() error { return errors.Join(s.Crash(), os.RemoveAll(s.dir)) }

// URL names a database to a program that connects as a user.
func (s *Server) URL(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", url.PathEscape(user), s.Port, url.PathEscape(database))
}

// Fresh makes an empty database, and gives its URL for the superuser. It is removed when the test ends.
func (s *Server) Fresh(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.URL(superuser, name)
}

// Exec runs statements in a database as the superuser.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	db, err := sql.Open("postgres", s.URL(superuser, database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%v: %s", err, statement)
		}
	}
}

// Shared is the server of a test program: it is started when a test first asks for it.
type Shared struct {
	start  sync.Once
	server *Server
	err    error
}

// Get gives the server. Where there is none, the test fails if CI is set, and is skipped elsewhere: `make test` says so in
// its last lines.
func (s *Shared) Get(t testing.TB) *Server {
	t.Helper()
	s.start.Do(func() { s.server, s.err = Start() })
	switch {
	case errors.Is(s.err, errMissing) && os.Getenv("CI") == "":
		t.Skip(s.err)
	case s.err != nil:
		t.Fatal(s.err)
	}
	return s.server
}

// Close ends the server, if there is one: TestMain calls it when all tests have run.
func (s *Shared) Close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}

// RequirePasswords lets nobody but the superuser in without a password.
func (s *Server) RequirePasswords(t testing.TB) {
	t.Helper()
	rules := "host all " + superuser + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
}

// EncryptWith turns TLS on, with a certificate and its key in PEM.
func (s *Server) EncryptWith(t testing.TB, certificate, key []byte) {
	t.Helper()
	for name, content := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		file := filepath.Join(s.data(), name)
		if err := errors.Join(os.WriteFile(file, content, 0o600), giveAway(file)); err != nil {
			t.Fatal(err)
		}
	}
	s.Exec(t, "postgres", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
}
