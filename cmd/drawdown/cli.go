package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"drawdown/jobs"
	"drawdown/rating"
)

// cli is the command line. Commands stand in the order in which one meets them.
type cli struct {
	Config string     `default:"drawdown.yaml" env:"DRAWDOWN_CONFIG" placeholder:"FILE" help:"Configuration (default: drawdown.yaml)."`
	Now    string     `placeholder:"T" help:"Take this instant for now, as 2026-10-01T00:00:00Z."`
	JSON   bool       `name:"json" help:"Write JSON for programs instead of tables for people."`
	Quiet  bool       `short:"q" help:"Say nothing but errors and what was asked for."`
	Memory memorySize `placeholder:"SIZE" help:"Memory to work in, as 512MiB (default: the configuration's, or 1GiB)."`

	MetricsFile string `placeholder:"FILE" env:"DRAWDOWN_METRICS_FILE" help:"Write metrics there when done, for node_exporter, as drawdown.prom."`
	MetricsPush string `placeholder:"URL" env:"DRAWDOWN_METRICS_PUSH" help:"Push metrics to a Pushgateway when done."`

	Demo       demoCmd       `cmd:"" help:"Settle an hour of real usage in an empty folder, and show what came of it."`
	Init       initCmd       `cmd:"" help:"Write a configuration, a small catalog and sample usage to begin with."`
	Catalog    catalogCmd    `cmd:"" help:"Check, apply or show the catalog: accounts, meters, prices, packages."`
	Settle     settleCmd     `cmd:"" help:"Settle every period that is over: deduct, charge, alert, write."`
	Backfill   backfillCmd   `cmd:"" help:"Settle settled periods again: late usage, mended rows, corrected prices."`
	Diff       diffCmd       `cmd:"" help:"Show what a backfill changed in a period, by account and package."`
	Close      closeCmd      `cmd:"" help:"Close settled periods, once they are booked: never rewritten again."`
	Packages   packagesCmd   `cmd:"" help:"Show packages: quota, what remains, cycle, expiry, state."`
	Periods    periodsCmd    `cmd:"" help:"Show which periods are pending, settled or closed."`
	Runs       runsCmd       `cmd:"" help:"Show who ran what, when and for how long."`
	Verify     verifyCmd     `cmd:"" help:"Check all that was settled: files, manifests, balances, notices."`
	Schedule   scheduleCmd   `cmd:"" help:"Stay, and settle whenever it is time: a daemon with cron entries."`
	Explain    explainCmd    `cmd:"" help:"Show what became of one usage record, and why."`
	Export     exportCmd     `cmd:"" help:"Write tables, statements, revenue or FOCUS rows as files for finance."`
	Report     reportCmd     `cmd:"" help:"Write a page to look at: of a range of periods, or for a customer."`
	Simulate   simulateCmd   `cmd:"" help:"Show what the past would have cost with other packages or prices."`
	GC         gcCmd         `cmd:"" name:"gc" help:"Remove what killed runs left, and nothing refers to."`
	Remind     remindCmd     `cmd:"" help:"Put what is due by the calendar into the outbox; list what is about to expire."`
	Notify     notifyCmd     `cmd:"" help:"Tell people what is due: e-mail, SMS, webhooks."`
	Notices    noticesCmd    `cmd:"" help:"Show what people are told, on which channel, and what came of it."`
	Inbox      inboxCmd      `cmd:"" help:"Show an account's inbox, read and unread."`
	Reports    reportsCmd    `cmd:"" help:"Take in delivery reports of the SMS gateway until interrupted."`
	Test       testCmd       `cmd:"" help:"Run conformance cases: try out packages before they are sold."`
	Completion completionCmd `cmd:"" help:"Write what makes a shell complete commands and flags."`
	Man        manCmd        `cmd:"" help:"Write the manual page."`
	Version    versionCmd    `cmd:"" help:"Show the version."`
}

const description = `Settle metered usage against prepaid packages.

drawdown reads usage records, deducts them from the packages that each account holds, charges the rest pay-per-use, finds the alerts that are due, and writes the settlement as Parquet.

To see it work:

    drawdown demo

To begin with your own:

    drawdown init billing
    cd billing
    drawdown settle

Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong usage, configuration or catalog; 3 done, but something waits for a person; 4 another run holds the lease; 130 interrupted.`

// process is what a process is given by its surroundings.
type process struct {
	args, env                      []string
	clock                          func() time.Time
	stdout, stderr                 io.Writer
	stdoutTerminal, stderrTerminal bool

	tamper     func(*jobs.Settle)      // of tests: makes parts of the job fail
	watch      func(*jobs.Backfill)    // of tests: looks at what is taken over, or has all computed
	notifyHook func(step string) error // of tests: stops or kills a delivery
}

// app is what every command is given.
type app struct {
	process
	ctx   context.Context
	flags *cli
	model *kong.Application // of the command line
	now   time.Time         // of the whole run
	ink   ink

	scratch bool            // it works in a temporary folder: nothing need outlive the machine
	loaded  *Config         // the configuration to work by; nil: read it
	stop    <-chan struct{} // once it is closed, no further commit is begun; may be nil
}

// run is the whole program, without the process around it.
func run(ctx context.Context, p process) int {
	var flags cli
	exited := -1
	answer := &watchedWriter{to: p.stdout}
	p.stdout = answer
	parser, err := kong.New(&flags, kong.Name("drawdown"), kong.Description(description),
		kong.Writers(p.stdout, p.stderr), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: tableWidth}))
	if err != nil {
		return report(ctx, err, p.stderr, false)
	}
	command, err := parser.Parse(p.args)
	if exited >= 0 { // --help has been answered
		return exited
	}
	if err != nil {
		return report(ctx, usageError(err), p.stderr, slices.Contains(p.args, "--json")) // the flags were not read
	}
	a := &app{process: p, ctx: ctx, flags: &flags, model: parser.Model, ink: ink{p.stdoutTerminal && !isSet(p.env, "NO_COLOR")}}
	if a.now, err = a.parseNow(); err != nil {
		return report(ctx, err, p.stderr, flags.JSON)
	}
	err = a.withRoom(command.Run(a))
	err = errors.Join(err, a.writeMetrics(err))
	if answer.err != nil && (err == nil || !errors.Is(err, answer.err)) {
		lost := &failure{op: "write the answer", err: answer.err, hint: "what was done is done; `drawdown runs` lists it", code: exitFailed}
		err = errors.Join(lost, err)
	}
	return report(ctx, err, p.stderr, flags.JSON)
}

// watchedWriter remembers the first error, since most of what is printed does not look at it.
type watchedWriter struct {
	to  io.Writer
	err error
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

func usageError(err error) error {
	hint := "`drawdown --help` lists the commands"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Selected() != nil {
		hint = "`drawdown " + parse.Context.Selected().Path() + " --help` says what it takes"
	}
	return &failure{op: "read arguments", err: err, hint: strings.ReplaceAll(hint, "drawdown drawdown", "drawdown"), code: exitUsage}
}

func (a *app) parseNow() (time.Time, error) {
	if a.flags.Now == "" {
		return a.clock().UTC(), nil
	}
	now, err := rating.ParseInstant([]byte(a.flags.Now))
	if err != nil {
		return time.Time{}, &failure{
			op: "read --now", err: fmt.Errorf("%q is %w", a.flags.Now, err), code: exitUsage,
			hint: "write it as 2026-10-01T00:00:00Z",
		}
	}
	return now.Time(), nil
}

// config reads the configuration; the flags go first.
func (a *app) config() (*Config, error) {
	if a.loaded != nil {
		return a.loaded, nil
	}
	c, err := loadConfig(a.flags.Config, a.env)
	if err != nil {
		return nil, err
	}
	if a.flags.Memory > 0 {
		c.Memory = byteSize(a.flags.Memory)
	}
	return c, nil
}

// say writes to a person, unless nothing but the answer is asked for.
func (a *app) say(format string, args ...any) {
	if !a.flags.Quiet && !a.flags.JSON {
		fmt.Fprintf(a.stdout, format+"\n", args...)
	}
}

func isSet(env []string, name string) bool {
	for _, entry := range env {
		if value, found := strings.CutPrefix(entry, name+"="); found && value != "" {
			return true
		}
	}
	return false
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
