package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"

	"drawdown/writers/store"
)

// The exit codes (docs/operations.md).
const (
	exitDone        = 0   // done, or nothing to do
	exitFailed      = 1   // failed; nothing was committed
	exitUsage       = 2   // wrong usage, config or catalog
	exitWaiting     = 3   // done, but something waits for a person
	exitHeld        = 4   // another run holds the lease
	exitInterrupted = 130 // by a signal
)

// failure is an error with what a process adds to it.
type failure struct {
	op   string // what was being done
	err  error
	hint string // what to do next; may be empty
	code int    // 0 is exitFailed
}

func (f *failure) Error() string {
	text := f.err.Error()
	if strings.HasPrefix(text, f.op+" ") || strings.HasPrefix(text, f.op+": ") { // it says so itself, and of what
		return text
	}
	return f.op + ": " + text
}

func (f *failure) Unwrap() error { return f.err }

// Hint says what to do next.
func (f *failure) Hint() string { return f.hint }

// ExitCode is the process's exit code.
func (f *failure) ExitCode() int {
	if f.code == 0 {
		return exitFailed
	}
	return f.code
}

// isMissing tells whether an error is a file that is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// waiting is not a failure: what was asked for is done, but something waits for a person.
type waiting struct{ op, what string }

func (w *waiting) Error() string { return w.op + ": " + w.what }

func (w *waiting) ExitCode() int { return exitWaiting }

// report prints an error, as a text for people or as one line of JSON for programs, and gives the exit code that belongs to
// it. Any error may bring along an exit code, a hint, or faults.
func report(ctx context.Context, err error, stderr io.Writer, asJSON bool) int {
	if err == nil {
		return exitDone
	}
	r := reportedError{Message: strings.TrimSpace(err.Error()), ExitCode: exitFailed}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		r.ExitCode = coded.ExitCode()
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		r.Hint = hinted.Hint()
	}
	if ctx.Err() != nil {
		r = reportedError{Message: "interrupted; run the same command again to go on", ExitCode: exitInterrupted}
	}
	if asJSON {
		r.split(err)
		encoder := json.NewEncoder(stderr)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(map[string]reportedError{"error": r}) == nil {
			return r.ExitCode
		}
	}
	fmt.Fprintln(stderr, "drawdown: "+r.Message)
	if r.Hint != "" {
		fmt.Fprintln(stderr, "hint: "+r.Hint)
	}
	return r.ExitCode
}

// noRoom is what comes of a full disk, with what to do.
type noRoom struct {
	error
	hint string
}

func (n *noRoom) Unwrap() error { return n.error }

// Hint says which disk is full, and what to do.
func (n *noRoom) Hint() string { return n.hint }

// windowsDiskFull is what Windows says where others say ENOSPC; elsewhere the number means something else.
const windowsDiskFull = syscall.Errno(112)

// withRoom adds to an error that came of a full disk which one that is.
func (a *app) withRoom(err error) error {
	full := errors.Is(err, syscall.ENOSPC) || runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull)
	var at *fs.PathError
	if !store.IsFull(err) && !(full && errors.As(err, &at)) {
		return err
	}
	c, configErr := a.config()
	if configErr != nil {
		c = defaultConfig()
	}
	place, key := c.State+" (and of its -wal beside it)", "state"
	switch {
	case store.IsURL(c.State) && store.IsFull(err):
		return &noRoom{err, "the disk of the database server is full: free space there, and run again; nothing of what failed was committed"}
	case at == nil:
	case within(at.Path, c.Output.URL):
		place, key = c.Output.URL, "output.url"
	case within(at.Path, cmp.Or(c.TempDir, os.TempDir())):
		place, key = cmp.Or(c.TempDir, os.TempDir()), "temp_dir"
	default:
		return &noRoom{err, "the disk of " + at.Path + " is full: free space there, and run again"}
	}
	return &noRoom{err, fmt.Sprintf("the disk of %s is full: free space there, or name another place in %s, and run again; "+
		"nothing of what failed was committed", place, key)}
}

// reportedError is an error as programs are told of it (docs/json.md).
type reportedError struct {
	Op       string `json:"op"`
	Message  string `json:"message"`
	Hint     string `json:"hint"`
	ExitCode int    `json:"exit_code"`
	Faults   any    `json:"faults,omitempty"`
}

// split tells what was being done from what is wrong, and takes faults out of the message into a list.
func (r *reportedError) split(err error) {
	var failed *failure
	var waits *waiting
	var config *configError
	var catalog *catalogError
	switch {
	case errors.As(err, &config):
		r.Op, r.Faults = "read config "+config.file, config.faults
		r.Message, _, _ = strings.Cut(r.Message, "\n")
	case errors.As(err, &catalog):
		r.Op, r.Faults = "check catalog", catalog.List
		r.Message, _, _ = strings.Cut(strings.Replace(r.Message, ": catalog: ", ": ", 1), "\n")
	case errors.As(err, &failed):
		r.Op = failed.op
	case errors.As(err, &waits):
		r.Op = waits.op
	}
	r.Message = strings.TrimPrefix(r.Message, r.Op+": ")
}
