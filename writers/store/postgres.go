package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// IsURL tells the URL of a server from the path of a file.
func IsURL(state string) bool { return strings.Contains(state, "://") }

// CheckURL says what is wrong with the URL of a state, before anything is connected. No message holds a password.
func CheckURL(state string) error {
	_, _, err := postgresConfig(state, ReadWrite)
	return err
}

// sessions is how many connections a process has: a heartbeat beside a commit, and some for reading.
const sessions = 4

func openPostgres(ctx context.Context, state string, mode Mode) (*Store, error) {
	config, name, err := postgresConfig(state, mode)
	if err != nil {
		return nil, fmt.Errorf("state %s", err)
	}
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", name, err)
	}
	connector.Dialer(dialer{})
	d := postgresDialect()
	db := sqlx.NewDb(sql.OpenDB(connector), d.driver)
	db.SetMaxOpenConns(sessions)
	db.SetMaxIdleConns(sessions)
	s := &Store{name: name, read: db, dialect: d, patience: patience}
	// A server that is starting, or that has ended the connection in the midst, is waited for; one that does not answer at all
	// may just be misspelt.
	away := func(err error) bool { return notNow(err) || brokenOff(err) || errors.Is(err, driver.ErrBadConn) }
	err = persevere(ctx, patience, away, func() error { return interruption(ctx, db.PingContext(ctx)) })
	if err == nil && mode != ReadOnly {
		s.write = db
		err = migrate(ctx, db)
	}
	return s, d.explain(err)
}

// postgresConfig reads the URL of a state with the variables and files of PostgreSQL's own programs (PGPASSWORD,
// PGPASSFILE, PGSSLROOTCERT, ~/.pgpass), and gives a name for messages.
func postgresConfig(state string, mode Mode) (config pq.Config, name string, err error) {
	const form = "postgres://user@host:5432/database?sslmode=verify-full"
	scheme, _, _ := strings.Cut(state, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return config, "", fmt.Errorf("%s:// is no database that is known; write the path of an SQLite file, or %s", scheme, form)
	}
	u, err := url.Parse(state)
	if err != nil || u.Fragment != "" { // the error itself would show a part of the password
		return config, "", fmt.Errorf("the URL cannot be read; write %s, and characters such as / # %% @ in a name or a password as %%2F %%23 %%25 %%40",
			form)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return config, "", fmt.Errorf("what follows ? in the URL cannot be read; write %s", form)
	}
	for key, values := range query {
		if len(values) > 1 {
			return config, "", fmt.Errorf("the URL has %s twice; keep one", key)
		}
	}
	if database := strings.Trim(u.Path, "/"); strings.Contains(database, "/") || database == "" && query.Get("dbname") == "" {
		return config, "", fmt.Errorf("the URL names no database; write %s", form)
	}
	if u.Host == "" && query.Get("host") == "" {
		return config, "", fmt.Errorf("the URL names no host; write %s, or ?host=/var/run/postgresql for a socket", form)
	}
	if config, err = pq.NewConfig(state); err != nil {
		return config, "", errors.New(withoutSecrets(err.Error(), u))
	}
	name = (&url.URL{Scheme: scheme, User: url.User(config.User), Host: u.Host, Path: "/" + config.Database}).String()
	if u.Host == "" {
		name += "?host=" + config.Host
	}
	return config, name, completeConfig(&config, query, mode)
}

// completeConfig sets what the URL leaves open.
func completeConfig(config *pq.Config, query url.Values, mode Mode) error {
	switch {
	case !query.Has("sslmode") && os.Getenv("PGSSLMODE") == "" && isLocal(config.Host):
		config.SSLMode = pq.SSLModeDisable // it does not leave the machine
	case !query.Has("sslmode") && os.Getenv("PGSSLMODE") == "":
		config.SSLMode = pq.SSLModeVerifyFull
	case config.SSLMode == pq.SSLModePrefer || config.SSLMode == pq.SSLModeAllow:
		return fmt.Errorf("sslmode=%s would go on without encryption where the server, or somebody in between, offers none; "+
			"write sslmode=verify-full, require or disable", config.SSLMode)
	}
	if mode != ReadOnly { // of several hosts, the one that takes writes
		config.TargetSessionAttrs = pq.TargetSessionAttrsReadWrite
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.ApplicationName == "" {
		config.ApplicationName = "drawdown"
	}
	return nil
}

// isLocal tells a socket and the machine itself from other hosts.
func isLocal(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

func withoutSecrets(text string, u *url.URL) string {
	password, _ := u.User.Password()
	for _, secret := range []string{password, u.Query().Get("password")} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}

// dialer notices within seconds that the other side is gone: a run would wait for hours for the answer of a server that
// a partition of the network has taken away.
type dialer struct{}

const unanswered = 15 * time.Second

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return limitUnanswered(c)
		},
	}
	return n.DialContext(ctx, network, address)
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
