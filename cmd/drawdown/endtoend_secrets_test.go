package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	s3 "drawdown/readers/bucket"
	"drawdown/readers/bucket/buckettest"
)

// canary is a part of every secret of TestNoSecretIsTold.
const canary = "c4n4ry"

// secrets are those that a site may have, by what they are of. Each has characters that a URL does not take as they are.
func secrets() map[string]string {
	list := map[string]string{}
	for _, name := range []string{"database", "bucket", "mail", "sms", "webhook", "push"} {
		list[name] = canary + "/" + name + ":p@ss#0123456789abcdef"
	}
	return list
}

// secretive is a site all of whose secrets are canaries.
type secretive struct {
	*rolesSite
	secrets map[string]string
	told    strings.Builder
	enough  []string // what a command tells before it is told to end; nil: it ends by itself
}

// toldSoFar is what a command tells, which is stopped when that is enough.
type toldSoFar struct {
	mu     sync.Mutex
	text   strings.Builder
	enough []string
	stop   func()
}

func (o *toldSoFar) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	lacks := func(text string) bool { return !strings.Contains(o.text.String(), text) }
	if len(o.enough) > 0 && !slices.ContainsFunc(o.enough, lacks) {
		o.stop()
	}
	return len(p), nil
}

// environment is that of commands in which everything is right, but that nobody listens for mails, SMS, webhooks and metrics.
func (s *secretive) environment() map[string]string {
	state, err := url.Parse(s.server.URL("drawdown", "drawdown"))
	if err != nil {
		s.t.Fatal(err)
	}
	state.User = url.UserPassword("drawdown", s.secrets["database"])
	return map[string]string{
		"DRAWDOWN_STATE": state.String(), "DRAWDOWN_USAGE_URL": buckettest.URL(s.endpoint, "usage"),
		"DRAWDOWN_OUTPUT_URL":          buckettest.URL(s.endpoint, "settlements"),
		"DRAWDOWN_NOTIFY_EMAIL_SERVER": "127.0.0.1:1", "DRAWDOWN_NOTIFY_EMAIL_TLS": "none", "DRAWDOWN_NOTIFY_EMAIL_FROM": "billing@example.com",
		"DRAWDOWN_NOTIFY_EMAIL_USERNAME": "drawdown", "DRAWDOWN_NOTIFY_EMAIL_PASSWORD": s.secrets["mail"],
		"DRAWDOWN_NOTIFY_SMS_GATEWAY": "kannel", "DRAWDOWN_NOTIFY_SMS_URL": "http://127.0.0.1:1/cgi-bin/sendsms", "DRAWDOWN_NOTIFY_SMS_USERNAME": "drawdown",
		"DRAWDOWN_NOTIFY_SMS_PASSWORD": s.secrets["sms"],
		"DRAWDOWN_NOTIFY_WEBHOOK_URL":  "http://127.0.0.1:1/hook", "DRAWDOWN_NOTIFY_WEBHOOK_ALLOW_PRIVATE": "true", "DRAWDOWN_NOTIFY_WEBHOOK_SECRET": s.secrets["webhook"],
		"DRAWDOWN_METRICS_PUSH": "http://drawdown:" + url.QueryEscape(s.secrets["push"]) + "@127.0.0.1:1/",
	}
}

// run runs a command with changes of the environment, and keeps what it tells.
func (s *secretive) run(changes map[string]string, args ...string) int {
	s.t.Helper()
	environment := s.environment()
	for name, value := range changes {
		if environment[name] = value; value == "" {
			delete(environment, name)
		}
	}
	var env []string
	for name, value := range environment {
		env = append(env, name+"="+value)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	out := &toldSoFar{enough: s.enough, stop: cancel}
	args = append([]string{"--config", filepath.Join(s.dir, "drawdown.yaml")}, args...)
	if s.enough == nil { // the daemon goes by the clock
		args = append([]string{"--now", rolesNow}, args...)
	}
	code := run(ctx, process{args: args, clock: time.Now, stdout: out, stderr: out, env: env})
	if found := s.found(out.text.String()); found != "" {
		s.t.Errorf("with %v, %v ended with %d and tells the secret of the %s:\n%s", changes, args, code, found, out.text.String())
	}
	s.told.WriteString(out.text.String())
	return code
}

// found names the secret that stands in a text, as it is or encoded.
func (s *secretive) found(text string) string {
	for name, secret := range s.secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("%x", secret)} {
			if strings.Contains(text, form) {
				return name
			}
		}
	}
	if strings.Contains(text, canary) {
		return "site, in part"
	}
	return ""
}

// TestNoSecretIsTold: no command, whether it works or fails, says a secret, in whatever form; nor does one stand in a file, a
// manifest, the database, metrics, or the log of the daemon.
func TestNoSecretIsTold(t *testing.T) {
	base := newRolesSite(t)
	s := &secretive{rolesSite: base, secrets: secrets()}
	s.s3.AddUser(t, "secretive", s.secrets["bucket"])
	s.s3.SetPolicy(t, "secretive", slices.Clone(s.policies["settler"]))
	buckettest.As(t, "secretive", s.secrets["bucket"])
	config, err := os.ReadFile(filepath.Join(s.dir, "drawdown.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The file is refused with a secret in it.
	text := strings.Replace(string(config), "  # email:\n", fmt.Sprintf("  email: {username: drawdown, password: %q}\n", s.secrets["mail"]), 1)
	if code := s.run(nil, "runs"); code != exitDone {
		t.Fatalf("nothing works: %s", s.told.String())
	}
	commands := s.readCommands()
	for name, all := range map[string][][]string{
		"settle": {{}}, "backfill": {{"--from", "2026-10-01", "--to", "2026-10-04"}}, "remind": {{}}, "notify": {{}}, "gc": {{"--apply"}},
		"inbox": {{"--account", "acme", "--mark-read"}}, "catalog": {{"apply", filepath.Join(s.dir, "catalog.yaml")}},
	} {
		commands[name] = append(commands[name], all...)
	}
	metrics := filepath.Join(t.TempDir(), "drawdown.prom")
	for _, name := range keysOf(commands) {
		for _, args := range commands[name] {
			s.run(nil, append([]string{name, "--metrics-file", metrics}, args...)...)
			s.run(nil, slices.Concat([]string{"--json", name}, args)...)
		}
	}
	s.runDaemon()
	state := s.environment()["DRAWDOWN_STATE"]
	port := fmt.Sprintf(":%d/", s.server.Port)
	raw := "postgres://drawdown:" + s.secrets["database"] + "@127.0.0.1" + port + "drawdown"
	for what, changes := range map[string]map[string]string{
		"refused":             {"DRAWDOWN_STATE": strings.Replace(state, port, ":1/", 1)},
		"no such database":    {"DRAWDOWN_STATE": strings.Replace(state, port+"drawdown", port+"nothing", 1)},
		"no such role":        {"DRAWDOWN_STATE": strings.Replace(state, "//drawdown:", "//nobody:", 1)},
		"no TLS":              {"DRAWDOWN_STATE": strings.Replace(state, "sslmode=disable", "sslmode=require", 1)},
		"no such parameter":   {"DRAWDOWN_STATE": state + "&password=" + s.secrets["database"]},
		"not encoded":         {"DRAWDOWN_STATE": raw},
		"no port":             {"DRAWDOWN_STATE": strings.Replace(state, port, ":54x2/", 1)},
		"bad percent":         {"DRAWDOWN_STATE": "postgres://drawdown:" + canary + "%zz@127.0.0.1/drawdown"},
		"another scheme":      {"DRAWDOWN_STATE": strings.Replace(state, "postgres://", "mysql://", 1)},
		"key and value":       {"DRAWDOWN_STATE": "host=127.0.0.1 user=drawdown password=" + canary},
		"secret in a bucket":  {"DRAWDOWN_USAGE_URL": "s3://key:" + canary + "@test/usage"},
		"secret in its end":   {"DRAWDOWN_OUTPUT_URL": "s3://test/settlements?endpoint=http://key:" + canary + "@127.0.0.1:1"},
		"secret as parameter": {"DRAWDOWN_OUTPUT_URL": "s3://test/settlements?secret_key=" + canary},
		"secret twice":        {"DRAWDOWN_NOTIFY_EMAIL_PASSWORD_FILE": filepath.Join(s.dir, "drawdown.yaml")},
		"secret as a list":    {"DRAWDOWN_NOTIFY_EMAIL_PASSWORD": "[" + canary + "]"},
		"short secret":        {"DRAWDOWN_NOTIFY_WEBHOOK_SECRET": canary},
		"secret in a hook":    {"DRAWDOWN_NOTIFY_WEBHOOK_URL": "http://hook:" + canary + "@127.0.0.1:1/"},
		"secret in an SMS":    {"DRAWDOWN_NOTIFY_SMS_URL": "http://127.0.0.1:1/?password=" + canary},
		"metrics":             {"DRAWDOWN_METRICS_PUSH": "ftp://drawdown:" + canary + "@127.0.0.1/"},
		"unknown variable":    {"DRAWDOWN_NOTIFY_EMAIL_PASWORD": canary},
	} {
		for _, args := range [][]string{{"runs"}, {"settle"}, {"verify"}, {"notify"}, {"--json", "explain", "r08"}, {"schedule", "--dry-run"}} {
			s.run(changes, args...)
		}
		if t.Failed() {
			t.Logf("it was %s", what)
		}
	}
	const key = "drawdown, password:"
	for _, broken := range []string{
		text, strings.Replace(text, key, "drawdown, pasword:", 1), text + "  : - [" + canary + "\n", strings.Replace(text, key, key+" [", 1),
		strings.Replace(text, key, key+" !!int", 1), text + "state: " + raw + "\nstate: again\n", strings.Replace(text, "{username", "{{username", 1),
	} {
		s.write("drawdown.yaml", broken)
		for _, args := range [][]string{{"runs"}, {"--json", "settle"}, {"notify"}} {
			if code := s.run(map[string]string{"DRAWDOWN_NOTIFY_EMAIL_PASSWORD": ""}, args...); code != exitUsage {
				t.Errorf("%v ended with %d: %s", args, code, broken[strings.Index(broken, key)-20:])
			}
		}
	}
	s.write("drawdown.yaml", string(config))
	buckettest.As(t, "secretive", canary+"-another")
	for _, args := range [][]string{{"settle"}, {"verify"}, {"backfill", "--from", "2026-10-01", "--to", "2026-10-04"}} {
		if code := s.run(nil, args...); code != exitFailed {
			t.Errorf("%v ended with %d", args, code)
		}
	}
	s.checkStored(metrics)
}

func (s *secretive) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// runDaemon lets the daemon do each of its jobs, and looks at its log.
func (s *secretive) runDaemon() {
	s.t.Helper()
	changes := map[string]string{"DRAWDOWN_SCHEDULE_SETTLE": "* * * * *", "DRAWDOWN_SCHEDULE_NOTIFY": "* * * * *", "DRAWDOWN_SCHEDULE_GC": "* * * * *"}
	s.run(changes, "schedule", "--dry-run")
	for format, ended := range map[string]string{"text": "job=%s outcome=", "json": `"job":"%s","outcome":`} { // jobs that are new run at once
		s.enough = nil
		for _, job := range []string{"settle", "notify", "gc"} {
			s.enough = append(s.enough, fmt.Sprintf(ended, job))
		}
		before := s.told.Len()
		if code := s.run(changes, "schedule", "--log", format); code != exitDone && code != exitInterrupted {
			s.t.Errorf("the daemon ended with %d: %s", code, s.told.String()[before:])
		}
		for _, said := range s.enough {
			if !strings.Contains(s.told.String()[before:], said) {
				s.t.Errorf("the daemon has not said %s: %s", said, s.told.String()[before:])
			}
		}
	}
	s.enough = nil
}

// checkStored looks through all that commands have written.
func (s *secretive) checkStored(metrics string) {
	s.t.Helper()
	for what, content := range s.content() {
		if found := s.found(content); found != "" {
			s.t.Errorf("%s has the secret of the %s", what, found)
		}
	}
	read := func(name string) {
		if content, err := os.ReadFile(name); err != nil {
			s.t.Error(err)
		} else if found := s.found(string(content)); found != "" {
			s.t.Errorf("%s has the secret of the %s", name, found)
		}
	}
	read(metrics)
	buckettest.As(s.t, buckettest.AccessKey, buckettest.Secret)
	bucket := openTestBucket(s.t, s.endpoint, "")
	names := 0
	if err := bucket.List(s.t.Context(), "", func(o s3.Object) error {
		content, err := bucket.ReadFile(s.t.Context(), o.Key)
		if found := s.found(string(content)); found != "" {
			s.t.Errorf("%s has the secret of the %s", o.Key, found)
		}
		names++
		return err
	}); err != nil || names == 0 {
		s.t.Error(names, err)
	}
	err := filepath.WalkDir(s.dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && entry.Name() != "drawdown.yaml" {
			read(name)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}
