package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"drawdown/rating"
)

// scheduleCmd is the daemon.
type scheduleCmd struct {
	Listen string `placeholder:"HOST:PORT" help:"Serve /healthz and /metrics on a loopback address, as 127.0.0.1:9100."`
	Log    string `enum:"text,json" default:"text" placeholder:"FORMAT" help:"Write the log as text or as json (default: text)."`
	DryRun bool   `help:"Show when each job would run, and run nothing."`
}

// Help is the command's own help.
func (scheduleCmd) Help() string {
	return `Runs the jobs of the section "schedule" of the configuration, each when its cron entry says so, until it is stopped:

    schedule:
      settle: "15 * * * *"           a quarter past each hour
      time_zone: Europe/Berlin       of the entries; UTC by default

    drawdown schedule --dry-run                      when would what run?
    drawdown schedule
    drawdown schedule --listen 127.0.0.1:9100 --log json

A tick does no more than the command by that name: what is due, the database decides. So each job runs once at the start and catches up with what was missed, and a clock that is set neither skips a period nor settles it twice. A job never overlaps itself. What fails is tried again, after 1 minute at first and 15 in the end; another run that holds the lease is waited for until the next tick.

SIGTERM lets a running commit end, for schedule.grace at most; a second one ends at once, and leaves nothing of it. SIGHUP reads the configuration again.`
}

// scheduledJob is something that the daemon can run: its name is its command and its key in the configuration.
type scheduledJob struct {
	name  string
	alone bool // it takes the lease, so that another one that does would only fail
	run   func(*app) (result []any, err error)
}

// scheduledJobs are the jobs that this build can run, in the order in which they begin.
func scheduledJobs() []scheduledJob {
	return []scheduledJob{
		{"settle", true, runSettle},
		{"remind", false, runCommand(&remindCmd{})},
		{"notify", false, runCommand(&notifySendCmd{})},
		{"gc", true, runCommand(&gcCmd{Apply: true, Grace: "72h"})},
	}
}

// runSettle is the command settle, and tells what it did.
func runSettle(a *app) ([]any, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	r, err := a.settle(c, rating.Never, false)
	if r == nil {
		return nil, err
	}
	result := []any{"periods", len(r.Periods), "records", r.Rows.Settled, "quarantined", r.Rows.Quarantined, "late", r.Late}
	if n := len(r.Periods); n > 0 {
		result = append(result, "first", r.Periods[0].Name, "last", r.Periods[n-1].Name, "run", r.Run)
	}
	if err == nil {
		err = waitingRows("settle", r)
	}
	return result, err
}

// runCommand is any command, and tells in numbers what it answers to programs: whom it is about is not for a log.
func runCommand(command interface{ Run(*app) error }) func(*app) ([]any, error) {
	return func(a *app) ([]any, error) {
		var answer bytes.Buffer
		a.stdout = &answer
		err := command.Run(a)
		return numbersOf(answer.Bytes()), err
	}
}

// numbersOf gives the numbers of an answer, and how long its lists are, by their keys.
func numbersOf(answer []byte) []any {
	var values map[string]any
	if json.Unmarshal(answer, &values) != nil {
		return nil
	}
	var numbers []any
	for _, key := range keysOf(values) {
		switch value := values[key].(type) {
		case float64, bool:
			numbers = append(numbers, key, value)
		case []any:
			numbers = append(numbers, key, len(value))
		}
	}
	return numbers
}

func (k *scheduleCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if len(c.Schedule.entries) == 0 {
		return errNoEntries(a.flags.Config)
	}
	if k.DryRun {
		return k.show(a, c)
	}
	if a.flags.Now != "" {
		return &failure{
			op: "schedule", err: errors.New("--now would stand still, and the schedule waits for the clock"), code: exitUsage,
			hint: "leave --now out; --dry-run takes it",
		}
	}
	var listener net.Listener
	if k.Listen != "" {
		if listener, err = listenOnLoopback(a, k.Listen); err != nil {
			return err
		}
	}
	return newDaemon(a, c, k.Log == "json" || a.flags.JSON, listener).run()
}

func errNoEntries(file string) error {
	return &failure{
		op: "schedule", err: fmt.Errorf("%s schedules nothing", file), code: exitUsage,
		hint: `write when to settle, as schedule: {settle: "15 * * * *"}`,
	}
}

// listenOnLoopback opens a port that only this machine reaches: sums of money are nobody else's business.
func listenOnLoopback(a *app, address string) (net.Listener, error) {
	const op = "listen on "
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &failure{op: op + address, err: err, code: exitUsage, hint: "write it as 127.0.0.1:9100"}
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, &failure{
			op: op + address, err: errors.New("the address is no loopback address, and who reaches it may read sums of money"), code: exitUsage,
			hint: "write it as 127.0.0.1:9100, and put a proxy that asks for a password in front; or use --metrics-push",
		}
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(a.ctx, "tcp", address)
	if err != nil {
		return nil, &failure{op: op + address, err: err, hint: "name another port"}
	}
	return listener, nil
}

// ticksShown is how many instants of each entry are shown.
const ticksShown = 3

// tickView is an entry and when it is due.
type tickView struct {
	Job   string   `json:"job"`
	Entry string   `json:"entry"`
	Zone  string   `json:"time_zone"`
	Next  []string `json:"next"`
}

// show says when what would run.
func (k *scheduleCmd) show(a *app, c *Config) error {
	views := []tickView{}
	t := table{columns: []column{{"job", fixed}, {"entry", ident}, {"next", fixed}, {"UTC", fixed}}}
	for _, e := range c.Schedule.entries {
		view := tickView{Job: e.name, Entry: e.text, Zone: e.entry.Zone().String()}
		cells := []string{e.name, e.text}
		at := rating.InstantOf(a.now)
		for range ticksShown {
			at = e.entry.Next(at)
			view.Next = append(view.Next, at.String())
			t.row(append(cells, at.Time().In(e.entry.Zone()).Format("Mon 2006-01-02 15:04 MST"), at.Time().Format("15:04"))...)
			cells = []string{"", ""}
		}
		views = append(views, view)
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Jobs []tickView `json:"jobs"`
		}{views})
	}
	t.print(a.stdout, a.ink)
	a.say("\nEach runs once more when the daemon starts.")
	return nil
}

// exitCodeOf and hintOf are what an error brings along.
func exitCodeOf(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return exitFailed
}

func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// oneLine is an error in a log, which may be of several.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }
